"""Whatever a model, a dataset or a configuration says: the page shows it as text, and runs nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tests.apps.chromium import MILLISECONDS

from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_apps.reporting.writing import write_report
from lightrft_core import FinishReason, Group, Learnt, Message, Prompt, Rollout, Verdict

ATTACKS = [
    "<script>window.__pwned = 1</script>",
    "</script><script>window.__pwned = 1</script>",
    "<!--<script>window.__pwned = 1//-->",
    "<img src=x onerror='window.__pwned = 1'>",
    "<svg onload=window.__pwned=1><animate onbegin=window.__pwned=1>",
    "javascript:window.__pwned=1",
    "\"><iframe srcdoc='<script>parent.__pwned=1</script>'>",
    "'-alert(1)-'",
    "{{script}}{{blocks}}${window.__pwned = 1}`",
    "\u2028window.__pwned = 1\u2029",
    "]]><style>body{background:url(http://127.0.0.1:9/x)}</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "\u202egnp.exe\u202c \U0001f600 \x00\x1b[31m",
    "__proto__",
]


class Shown:
    """A medium that is what it says it is."""

    def __init__(self, modality: str, sha256: str) -> None:
        self.modality, self.sha256 = modality, sha256


def hostile_run(folder: Path) -> Path:
    everything = " ".join(ATTACKS)
    groups = []
    for number, attack in enumerate(ATTACKS):
        media = (Shown(attack, attack), Shown("image", "../../config.yaml"), Shown("image", "ab" * 32))
        parts = (
            {"type": attack, "text": attack},
            {"type": "image", "image": attack},
            {"type": "text", "text": "\ud83d" + attack},
        )
        prompt = Prompt(attack, (Message(attack, parts),), attack, (1,), {attack: attack}, attack, media=media)
        verdict = Verdict(0.5, accuracy=0.0, parts={attack: 1.0, "format": 1.0}, notes={attack: everything})
        failed = Verdict(None, error=everything)
        learnt = Learnt([0.5, float("nan")], [-1.0, float("-inf")], [0.1, float("inf")], [1.0, 1e30])
        groups.append(
            Group(
                prompt,  # type: ignore[arg-type]
                [
                    Rollout(0, [1, 2], [-1.0, -2.0], [True] * 2, FinishReason.STOP, attack, verdict, 0.5, 0.5, learnt),
                    Rollout(number, [1], [-1.0], [True], FinishReason.LENGTH, attack, failed),
                ],
            )
        )
    spoken = iter(ATTACKS * 10)
    write_trajectories(
        folder / "trajectories" / "step_000001.parquet", 1, groups, lambda ids: [next(spoken) for _ in ids]
    )
    (folder / "media").mkdir()
    (folder / "media" / f"{'ab' * 32}.html").write_text("<script>window.__pwned = 1</script>")
    (folder / "media" / f"{'ab' * 32}.svg").write_text("<svg onload='window.__pwned=1'/>")
    config = {"pretrain": everything} | {attack: attack for attack in ATTACKS} | {"_record": {ATTACKS[0]: everything}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [{"step": step} | dict.fromkeys(ATTACKS, 0.5 * step) for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": NaN}\ntorn {')
    summary = {"accuracy_before": None, "steps": 1, ATTACKS[0]: ATTACKS[1]}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_hostile_texts_everywhere_run_nothing_and_ask_for_nothing(tmp_path: Path, visit: Callable[..., Any]) -> None:
    folder = tmp_path / "runs" / "<img src=x onerror=window.__pwned=1>"
    folder.mkdir(parents=True)
    path = tmp_path / "report.html"
    write_report([hostile_run(folder)], path)
    page = visit(path)
    seen = ""
    for view in ("overview", "curves", "settings", "answers&step=1", "answers&step=1&filter=failed&colour=gap"):
        page.evaluate(f"location.hash = {json.dumps('view=' + view)}")
        page.wait_for_selector("#count[data-done]" if "answers" in view else f"[data-view={view}][aria-current]")
        page.wait_for_timeout(100)
        for button in page.locator(".more").all()[:3]:
            button.click()
        for token in page.locator(".t:visible").all()[:3]:
            token.hover(force=True)
        seen += page.inner_text("body")
        assert page.evaluate("window.__pwned") is None
    for attack in ATTACKS[:8]:
        assert attack in seen, "it is shown as it was written"
    assert (
        page.evaluate("document.querySelectorAll('main script, main iframe, main link, main style, main meta').length")
        == 0
    )
    assert page.evaluate("document.querySelectorAll('main img').length") == 0
    assert page.evaluate("({}).polluted") is None


def test_the_address_of_the_page_is_no_way_in(
    tmp_path: Path, write_run: Callable[..., Path], visit: Callable[..., Any]
) -> None:
    write_report([write_run(tmp_path / "run")], tmp_path / "report.html")
    names = "#view=__proto__&step=<script>&colour=constructor&filter=toString&sort=__proto__"
    page = visit(tmp_path / "report.html", names)
    attack = "<img src=x onerror=window.__pwned=1>"
    page.evaluate(f"location.hash = {json.dumps(f'view=answers&prompt={attack}&find={attack}')}")
    page.wait_for_selector("#count[data-done]:has-text('0 answers')")
    assert page.input_value("#find") == attack
    assert page.evaluate("window.__pwned") is None


def test_the_policy_of_the_page_lets_in_nothing_but_its_own_code(
    tmp_path: Path, write_run: Callable[..., Path], browser: Any
) -> None:
    folder = write_run(tmp_path / "run")
    write_report([folder], tmp_path / "report.html")
    page = browser.new_page()
    page.set_default_timeout(MILLISECONDS)
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    refused = page.evaluate(
        """async () => {
          const refused = [];
          addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.__pwned = 1";
          document.body.append(script);
          const box = document.createElement("div");
          box.innerHTML = "<img src='http://127.0.0.1:9/x' onerror='window.__pwned = 1'><b style='color:red'>x</b>";
          document.body.append(box);
          try { await fetch("http://127.0.0.1:9/x"); } catch { }
          const kinds = () => [...new Set(refused)].sort();
          for (let tries = 0; kinds().length < 4 && tries < 1000; tries += 1)
            await new Promise((done) => setTimeout(done, 50));
          return kinds();
        }"""
    )
    assert page.evaluate("window.__pwned") is None
    assert {"connect-src", "img-src", "script-src-elem", "script-src-attr"} <= {*refused}
    page.close()

"""Reports of real runs, of words, images and sounds, looked at as a person does; and how fast a page opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightrft_apps.reporting.writing import write_report

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs/source/_static"
RESULTS = ROOT / "docs/benchmarks/report.json"

RUNS = {
    "text": (["--max_steps", "4", "--rule_reward", "number:1,format:0.2", "--generate_max_len", "48"], "."),
    "image": (["--modality", "image", "--max_steps", "12", "--eval_steps", "6"], "grpo"),
    "audio": (["--modality", "audio", "--max_steps", "8"], "grpo"),
    "video": (["--modality", "video", "--max_steps", "4"], "grpo"),
}
"""Flags of a quick start, and where in its folder the run of GRPO lies."""

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie: REPORT_RUNS, in which finished ones are not repeated, or a new folder."""
    given = os.environ.get("REPORT_RUNS")
    return Path(given) if given else tmp_path_factory.mktemp("runs")


def report_of(folder: Path, kind: str) -> tuple[Path, Path]:
    """A quick start's run, and its page, written anew."""
    flags, below = RUNS[kind]
    command = [sys.executable, "-m", "lightrft_apps"]
    subprocess.run([*command, "quickstart", *flags, "--output_dir", str(folder / kind)], check=True, timeout=3600)
    run = folder / kind / below
    subprocess.run([*command, "report", str(run)], check=True, timeout=600)
    return run, run / "report.html"


def note(name: str, result: dict[str, Any]) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(dict(sorted((known | {name: result}).items())), indent=2) + "\n")


def opening(visit: Visit, page: Path, address: str, times: int = 5) -> dict[str, Any]:
    """Seconds from asking for the page until what it shows is there, and its size."""
    took = []
    for _ in range(times):
        opened = visit(page, address)
        ready = opened.evaluate("performance.getEntriesByName('ready')[0].startTime")
        took.append(round(ready / 1000, 3))
        opened.close()
    return {"seconds": took, "median": median(took), "megabytes": round(page.stat().st_size / 1e6, 2)}


def settled(page: Any) -> Any:
    page.wait_for_selector("#count[data-done]")
    return page


def picture(page: Any, name: str) -> None:
    page.wait_for_timeout(400)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size < 300_000


def media(page: Any, kind: str) -> list[Any]:
    """Of each picture its width; of each sound and video its seconds, once it can be played."""
    if kind == "img":
        page.wait_for_timeout(500)
        return list(page.locator("img.medium:visible").evaluate_all("all => all.map((one) => one.naturalWidth)"))
    ask = """all => Promise.all(all.slice(0, 4).map(async (one) => {
      one.muted = true;
      await one.play();
      return [one.error === null, one.duration];
    }))"""
    return list(page.locator(f"{kind}.medium").evaluate_all(ask))


def test_a_run_of_words_is_read_token_by_token(folder: Path, visit: Visit) -> None:
    run, path = report_of(folder, "text")
    page = visit(path, "#view=answers&step=4&sort=spread")
    settled(page)
    rows = pq.read_table(run / "trajectories" / "step_000004.parquet").to_pylist()
    cut = sum(row["finish_reason"] == "length" for row in rows)
    page.select_option("select[aria-label=show]", "truncated")
    assert settled(page).inner_text("#count").startswith(f"{cut} answer")
    page.select_option("select[aria-label=show]", "all")
    settled(page)
    head = page.locator(".group h2").first.inner_text()
    row = next(row for row in rows if row["prompt_uid"] == head)
    assert "".join(row["pieces"]) == "".join(page.locator(".answer").first.locator(".t").all_text_contents())
    for mode in ("ratio", "entropy", "gap", "mask", "advantage"):
        page.click(f"[data-mode={mode}]")
        settled(page)
    page.keyboard.press("[")
    assert "step=3" in settled(page).evaluate("location.hash")
    shown = settled(visit(path, "#view=answers&step=4&sort=spread&colour=entropy"))
    shown.locator(".answer").nth(1).locator(".t").nth(1).hover()
    picture(shown, "report_tokens")
    picture(visit(path), "report_overview")
    dark = settled(visit(path, "#view=answers&step=4&sort=spread", color_scheme="dark"))
    picture(dark, "report_dark")
    note("smollm2, text", opening(visit, path, "#view=answers"))


def test_a_run_of_images_shows_them(folder: Path, visit: Visit) -> None:
    run, path = report_of(folder, "image")
    page = settled(visit(path, "#view=answers&step=3&sort=spread"))
    widths = media(page, "img")
    assert len(widths) == 3
    assert min(widths) > 0
    picture(page, "report_images")
    evaluation = settled(visit(path, "#view=answers&set=eval&filter=right"))
    right = sum(
        row["accuracy"] > 0.5 for row in pq.read_table(run / "trajectories" / "eval_000012.parquet").to_pylist()
    )
    assert evaluation.inner_text("#count").startswith(f"{right} answer")
    note("image riddles", opening(visit, path, "#view=answers"))


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_run_of_sounds_and_one_of_videos_play_them(folder: Path, visit: Visit, kind: str) -> None:
    _, path = report_of(folder, kind)
    page = settled(visit(path, "#view=answers&set=eval"))
    played = media(page, kind)
    assert played
    assert all(well and seconds > 0.5 for well, seconds in played)
    page.locator(".across").first.click()
    page.wait_for_selector("#leave-prompt")
    assert settled(page).locator(".group").count() == 2
    picture(settled(visit(path, "#view=answers&set=eval")), f"report_{kind}")
    note(f"{kind} riddles", opening(visit, path, "#view=answers"))


@pytest.mark.parametrize("tokens", [64, 200])
def test_ten_thousand_answers_open_in_two_seconds(
    tmp_path: Path, write_run: Callable[..., Path], visit: Visit, tokens: int
) -> None:
    run = write_run(tmp_path / "run", steps=25, prompts=50, answers=8, tokens=tokens)
    begin = time.process_time()
    written = write_report([run], run / "report.html")
    built = round(time.process_time() - begin, 2)
    assert (written.answers, written.left_out) == (10_000, 0)
    found = {"processor_seconds_to_write": built, "load_average": round(os.getloadavg()[0], 1)}
    found |= {view: opening(visit, run / "report.html", f"#view={view}") for view in ("overview", "answers")}
    note(f"10,000 answers of {tokens} tokens", found)
    assert max(found[view]["median"] for view in ("overview", "answers")) < 2.0


def test_runs_of_several_seeds_are_bands(folder: Path, visit: Visit) -> None:
    run, _ = report_of(folder, "image")
    seeds = folder / "image" / "seeds"
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-m", "lightrft_apps", "rl", "--config", str(run / "config.yaml"), "--seed", seed]
        subprocess.run([*command, "--output_dir", str(seeds / f"seed_{seed}")], check=True, timeout=1800)
    write_report([seeds], seeds / "report.html")
    page = visit(seeds / "report.html")
    page.wait_for_selector(".chart path[opacity]")
    page.locator(".charts").scroll_into_view_if_needed()
    picture(page, "report_seeds")

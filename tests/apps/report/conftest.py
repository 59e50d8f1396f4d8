"""What the tests of the report share: runs written by the test itself, and a browser without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.apps.chromium import CHROMIUM, MILLISECONDS, MISSING, a_browser

from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_core import FinishReason, Group, Learnt, Message, Prompt, Rollout, Verdict

WORDS = ["The", " answer", " is", " ", "4", "2", ",", " because", "\n", " six", " times", " seven", " é", "<|im_end|>"]
CONFIG = """\
pretrain: models/tiny
algorithm: grpo
prompt_data: sums.jsonl
rule_reward: number:1,format:0.2
generate_max_len: 64
output_dir: {folder}
seed: {seed}
_record:
  torch: 2.13.0
  revision: abc
"""


def texts(token_ids: Sequence[int]) -> list[str]:
    return [WORDS[token % len(WORDS)] for token in token_ids]


def made_group(random: Random, step: int, place: int, answers: int, tokens: int) -> Group:
    """Answers of so many tokens about, with all numbers known; the last of them is cut off."""
    rollouts = []
    for sample in range(answers):
        length = random.randrange(max(1, tokens // 2), tokens + tokens // 2 + 1)
        ids = [random.randrange(len(WORDS) - 1) for _ in range(length - 1)] + [len(WORDS) - 1]
        mask = [random.random() < 0.95 for _ in ids]
        loss = sum(mask)
        right = random.random() < 0.5
        learnt = Learnt(
            [random.gauss(0, 1)] * loss,
            [-random.random() for _ in range(loss)],
            [random.random() * 2 for _ in range(loss)],
            [2 ** random.gauss(0, 0.1) for _ in range(loss)],
        )
        verdict = Verdict(
            1.2 if right else 0.2, accuracy=float(right), parts={"number": float(right), "format": 1.0}, steps=()
        )
        cut = sample == answers - 1
        rollouts.append(
            Rollout(
                sample,
                ids,
                [-random.random() for _ in ids],
                mask,
                FinishReason.LENGTH if cut else FinishReason.STOP,
                "".join(texts(ids)).removesuffix("<|im_end|>"),
                verdict,
                verdict.score,
                learnt.advantages[0] if loss else 0.0,
                learnt,
            )
        )
    asked = f"What is {place} + {step}?"
    prompt = Prompt(f"sums.jsonl:{place}", (Message("user", asked),), asked, (1, 2), str(place + step))
    return Group(prompt, rollouts)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """write_run(folder, steps=2, prompts=3, answers=4, tokens=12, seed=0) -> the folder of a run that never was."""

    def write(
        folder: Path, *, steps: int = 2, prompts: int = 3, answers: int = 4, tokens: int = 12, seed: int = 0
    ) -> Path:
        random = Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(CONFIG.format(folder=folder.name, seed=seed))
        lines = []
        for step in range(1, steps + 1):
            groups = [made_group(random, step, place, answers, tokens) for place in range(prompts)]
            write_trajectories(folder / "trajectories" / f"step_{step:06d}.parquet", step, groups, texts)
            numbers = {"reward/mean": random.random(), "policy/entropy": 1 / step, "rollout/length_mean": float(tokens)}
            times = {"time/sample": 1.0, "time/optimise": 2.0, "time/step": 3.1, "memory/sample_peak_gib": 1.5}
            lines.append({"step": step} | numbers | times)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        estimate = {"value": 0.25, "n": 20, "interval": [0.1, 0.4]}
        summary = {"steps": steps, "accuracy_before": estimate, "accuracy_after": estimate | {"value": 0.5}}
        (folder / "summary.json").write_text(json.dumps(summary | {"seconds": 3.0 * steps}))
        return folder

    return write


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window. While it is there an event loop runs in this thread: for no other file's tests."""
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with a_browser() as chromium:
        yield chromium


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """visit(file, address="", **options of the page) -> the page, ready; whatever it asks, says or refuses fails."""
    contexts, troubles = [], list[str]()

    def go(path: Path, address: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}} | options)
        context.set_default_timeout(MILLISECONDS)
        contexts.append(context)
        page, url = context.new_page(), path.resolve().as_uri()
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith((url, "data:")) or troubles.append(f"asks {asked.url}"))
        page.on("popup", lambda other: troubles.append("opens another page"))
        page.goto(url + address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []

"""The quick start of reward modelling, in small: comparisons, a reward model, its evaluation, GRPO, the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from lightrft_apps.commands.quickstart import main
from lightrft_apps.quickstart import closed_loop, lessons
from lightrft_apps.quickstart.closed_loop import both_rewards

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image lesson of a few riddles and comparisons."""
    lesson = replace(
        lessons.LESSONS["image"],
        examples=8,
        riddles=8,
        warmup={"max_epochs": 1},
        grpo={"max_steps": 2, "rollout_batch_size": 4, "n_samples_per_prompt": 2},
    )
    monkeypatch.setitem(lessons.LESSONS, "image", lesson)
    monkeypatch.setattr(lessons, "HELD_OUT", 8)
    monkeypatch.setattr(closed_loop, "COMPARISONS", {"scalar": 16, "generative": 16})


def test_a_reward_model_is_trained_evaluated_and_learnt_from_and_the_truth_only_measures(
    small: None, tmp_path: Path
) -> None:
    folder = tmp_path / "quick"
    words = ["--reward-model", "--output_dir", str(folder), "--no-progress", "--seed", "3"]
    main(words)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["before"]["n"] == summary["after"]["n"] == 8
    assert summary["over_optimisation"] == "too few steps"
    lines = [json.loads(line) for line in (folder / "grpo" / "metrics.jsonl").read_text().splitlines()][1:]
    for line in lines:
        assert line["reward/mean"] == pytest.approx(line["reward/part/rm"]), "the right answers must not be paid for"
        assert 0 <= line["reward/part/multiple_choice"] <= 1
        assert line["reward/extra/rm/failed"] == 0
    found = both_rewards(folder / "grpo" / "metrics.jsonl")
    assert found.model_rewards == tuple(line["reward/part/rm"] for line in lines)
    assert (folder / "over_optimisation.svg").read_text().startswith("<svg")
    assert (folder / "judged" / "report.html").exists()
    runs = {name: (folder / name / "metrics.jsonl").read_bytes() for name in ("warmup", "rm", "grpo")}
    (folder / "summary.json").unlink()
    main(words)
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert runs == {name: (folder / name / "metrics.jsonl").read_bytes() for name in runs}


def test_comparisons_are_of_riddles_of_their_own_and_their_better_answer_is_right(tmp_path: Path) -> None:
    lesson = lessons.LESSONS["mixed"]
    lesson.write_preferences(tmp_path, seed=1, count=6)
    rows = [json.loads(line) for line in (tmp_path / "preferences.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    for row, toy in zip(rows, lesson.toys * 2, strict=True):
        right = row["label"]["choices"][row["label"]["answer"]]
        assert row["prompt"] == toy(Random(0)).question
        place = row["answers"].index(right)
        assert row["scores"] == [1 - place, place]
        assert row["reasoning"] == f"<think>{right}</think><answer>Answer {place + 1} is better</answer>"
        assert row["answers"][1 - place] in set(row["label"]["choices"]) - {right}

"""How a run ended: summary.json for programs, some lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import RLConfig, train
from lightrft_apps.recording.directory import RunDirectory, open_run
from lightrft_apps.recording.summary import read_summary, show_summary, sparkline, write_summary
from lightrft_core import TrainState
from lightrft_core.evaluation import Estimate


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    opened, _ = open_run(tmp_path / "run", lambda path: {})
    yield opened
    opened.close()


def line(step: int, **numbers: float) -> str:
    return json.dumps({"step": step, "time/step": 2.5, "time/cpu": 4.0} | numbers) + "\n"


def test_a_summary_holds_accuracies_rewards_and_times(run: RunDirectory) -> None:
    rewards = [{"reward/mean": 0.25}, {}, {"reward/mean": 0.5}]
    run.metrics.write_text(line(0) + "".join(line(step, **r) for step, r in enumerate(rewards, start=1)))
    middle, last = Estimate(0.3, 10, (0.1, 0.6)), Estimate(0.5, 10, (0.2, 0.8))
    evaluations = {3: last, 0: Estimate(0.0, 10, (0.0, 0.28)), 2: middle}
    write_summary(run, TrainState(step=3, optimiser_steps=6, evaluations=evaluations))
    assert read_summary(run.summary) == {
        "steps": 3,
        "optimiser_steps": 6,
        "accuracy_before": {"value": 0.0, "n": 10, "interval": [0.0, 0.28]},
        "accuracy_after": {"value": 0.5, "n": 10, "interval": [0.2, 0.8]},
        "rewards": [0.25, None, 0.5],
        "seconds": 10.0,
        "cpu_seconds": 16.0,
    }
    assert not run.summary.with_suffix(".unfinished").exists()


def test_a_run_without_evaluation_has_no_accuracies(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.metrics.write_text(line(1, **{"reward/mean": 0.25}))
    write_summary(run, TrainState(step=1, optimiser_steps=1))
    summary = read_summary(run.summary)
    assert (summary["accuracy_before"], summary["accuracy_after"]) == (None, None)
    show_summary(summary, run.path)
    assert "accuracy" not in capsys.readouterr().err


def test_people_are_told_what_changed_and_where_the_files_are(capsys: pytest.CaptureFixture[str]) -> None:
    summary: dict[str, Any] = {
        "steps": 2,
        "accuracy_before": {"value": 0.125, "n": 200, "interval": [0.1, 0.2]},
        "accuracy_after": {"value": 0.5, "n": 200, "interval": [0.4, 0.6]},
        "rewards": [None, 0.1, 0.4],
        "seconds": 12.4,
        "cpu_seconds": 20.0,
    }
    show_summary(summary, Path("runs") / "first")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "reward    ▁█  0.100 -> 0.400",
        "held-out accuracy before  12.5%  (95% interval 10.0% to 20.0%, 200 problems)",
        "held-out accuracy after   50.0%  (95% interval 40.0% to 60.0%, 200 problems)",
        "2 steps, 12 s (20 s of CPU). Model: runs/first/final  metrics: runs/first/metrics.jsonl  "
        "answers: runs/first/trajectories",
    ]


def test_a_folder_with_brackets_in_its_name_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"steps": 1, "accuracy_before": None, "accuracy_after": None, "rewards": [], "seconds": 1}
    show_summary(summary | {"cpu_seconds": 1}, Path("runs") / "lr[bold]1")
    assert "Model: runs/lr[bold]1/final" in capsys.readouterr().err


def test_train_returns_what_the_file_holds(flags: dict[str, Any], tmp_path: Path) -> None:
    returned = train(RLConfig.create(**flags, eval_dataset=flags["prompt_data"], max_epochs=2))
    assert returned == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (returned["steps"], returned["optimiser_steps"]) == (2, 4)
    for moment in ("before", "after"):
        accuracy = returned[f"accuracy_{moment}"]
        low, high = accuracy["interval"]
        assert accuracy["n"] == 8
        assert 0 <= low <= accuracy["value"] <= high <= 1
    assert len(returned["rewards"]) == 2


def test_bars_rise_with_the_values() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([-1.0]) == "▁"

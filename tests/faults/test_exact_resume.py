"""A run that is killed, at whatever moment, and started again ends with the bits of one that was never killed."""

from __future__ import annotations

import json
import random
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Launch = Callable[..., int]
AssertSame = Callable[[Path, Path], None]
REPORT = Path(__file__).parents[2] / "docs" / "benchmarks" / "exact_resume.json"
Kills = Sequence[tuple[str, int]]

SCENARIOS: dict[str, tuple[list[str], Kills]] = {
    "one optimiser step a batch": (
        [],
        [
            ("naming config.yaml", 1),
            ("between two sampled tokens", 30),
            ("while a worker judges", 14),
            ("in a line of the journal", 3),
            ("in a line of the metrics", 2),
            ("rewinding the metrics", 1),
            ("in the trajectories", 2),
            ("in the final export", 1),
            ("before the summary", 1),
        ],
    ),
    "several optimiser steps a batch, on a schedule, against a reference": (
        ["--train_batch_size=6", "--lr_scheduler=cosine", "--lr_warmup_ratio=0.3", "--init_kl_coef=0.1"],
        [
            ("before an optimiser step", 5),
            ("after the weights of a checkpoint", 1),
            ("after an optimiser step", 8),
            ("after rewinding", 1),
            ("in the weights of a checkpoint", 2),
            ("dooming an old checkpoint", 1),
            ("naming the final export", 1),
        ],
    ),
    "two epochs over a batch": (
        ["--max_epochs=2", "--train_batch_size=8", "--micro_train_batch_size=3"],
        [
            ("in the weights of a checkpoint", 1),
            ("after an optimiser step", 11),
            ("naming a checkpoint", 1),
            ("between line and checkpoint", 2),
            ("in the final export", 1),
        ],
    ),
    "a critic, a steered coefficient, rewards on a running scale": (
        ["--algorithm=ppo", "--kl_target=0.01", "--kl_horizon=100", "--reward_running_norm", "--train_batch_size=8"],
        [
            ("after an optimiser step", 9),
            ("between line and checkpoint", 1),
            ("naming a checkpoint", 1),
        ],
    ),
    "groups without signal replaced": (
        ["--algorithm=dapo", "--dynamic_sampling_max_rounds=3"],
        [
            ("while a worker judges", 9),
            ("between two sampled tokens", 25),
            ("removing an old checkpoint", 1),
            ("naming the summary", 1),
        ],
    ),
    "bf16": (
        ["--bf16", "--train_batch_size=8"],
        [
            ("after an optimiser step", 7),
            ("removing an old checkpoint", 1),
            ("naming the final export", 1),
            ("before the summary", 1),
            ("naming the summary", 1),
        ],
    ),
}
PROOFS = ("two epochs over a batch", "bf16")
"""Scenarios of the proof alone; the others have every moment among them."""

EVERY_MOMENT = [
    "naming config.yaml",
    "between two sampled tokens",
    "while a worker judges",
    "in a line of the journal",
    "before an optimiser step",
    "after an optimiser step",
    "in the trajectories",
    "in a line of the metrics",
    "rewinding the metrics",
    "after rewinding",
    "between line and checkpoint",
    "in the weights of a checkpoint",
    "after the weights of a checkpoint",
    "naming a checkpoint",
    "dooming an old checkpoint",
    "removing an old checkpoint",
    "in the final export",
    "naming the final export",
    "before the summary",
    "naming the summary",
]
RANDOM_KILLS = 30
"""In each scenario of the proof."""


@pytest.fixture(scope="module")
def never_killed(task: Any, launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """never_killed(flag, ...) -> the folder of a run that nobody killed."""

    @cache
    def run(*flags: str) -> Path:
        folder: Path = tmp_path_factory.mktemp("never_killed") / "run"
        assert launch(task.words(folder, *flags)) == 0
        return folder

    return run


def test_every_moment_has_its_run() -> None:
    tried = {moment for name, (_, kills) in SCENARIOS.items() if name not in PROOFS for moment, _ in kills}
    assert tried == {*EVERY_MOMENT}


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=pytest.mark.proof) if name in PROOFS else name for name in SCENARIOS]
)
def test_a_run_killed_many_times_ends_as_one_never_killed(
    scenario: str,
    task: Any,
    launch: Launch,
    never_killed: Callable[..., Path],
    assert_same: AssertSame,
    tmp_path: Path,
) -> None:
    flags, kills = SCENARIOS[scenario]
    words = task.words(tmp_path / "killed", *flags)
    for moment, count in kills:
        assert launch(words, moment, count) == -9, f"the run ended before it could be killed {moment}"
    assert launch(words) == 0
    assert_same(tmp_path / "killed", never_killed(*flags))


def test_the_installed_command_in_a_fresh_process_finishes_a_killed_run(
    task: Any, launch: Launch, never_killed: Callable[..., Path], assert_same: AssertSame, tmp_path: Path
) -> None:
    words = task.words(tmp_path / "killed")
    assert launch(words, "after an optimiser step", 4) == -9
    subprocess.run([Path(sysconfig.get_path("scripts")) / "lightrft", *words], timeout=300, check=True)
    assert_same(tmp_path / "killed", never_killed())


def test_an_answer_that_once_took_too_long_to_judge_stays_timed_out(
    task: Any, launch: Launch, never_killed: Callable[..., Path], assert_same: AssertSame, tmp_path: Path
) -> None:
    first, never, killed = never_killed(), tmp_path / "never killed", tmp_path / "killed"
    slow = max(judged(first, 3), key=len)
    assert slow not in judged(first, 1) | judged(first, 2)
    assert judged(first, 3)[slow] is not None

    flags = ["--reward_timeout=5", "--max_steps=4"]
    task.switch.write_text(slow)
    assert launch(task.words(never, *flags)) == 0
    assert launch(task.words(killed, *flags), "after an optimiser step", 3) == -9
    task.switch.unlink()
    assert launch(task.words(killed, *flags)) == 0
    assert judged(killed, 3)[slow] is None
    assert_same(killed, never)


def judged(run: Path, step: int) -> dict[str, float | None]:
    """answer -> its reward, None if its judging timed out, for all answers of a step."""
    rows = pq.read_table(run / "trajectories" / f"step_{step:06d}.parquet").to_pylist()
    assert all(row["timed_out"] == (row["reward"] is None) for row in rows)
    return {row["response"]: row["reward"] for row in rows}


@pytest.mark.proof
def test_a_real_model_in_bf16_on_all_cores_ends_as_one_never_killed(
    launch: Launch, assert_same: AssertSame, tmp_path: Path
) -> None:
    steps = ["--max_steps=3", "--save_steps=1", "--rollout_batch_size=4", "--train_batch_size=16"]
    evaluation = ["--eval_max_samples=8", "--eval_generate_max_len=16"]

    def words(name: str) -> list[str]:
        return ["quickstart", *steps, *evaluation, f"--output_dir={tmp_path / name}"]

    assert launch(words("never killed")) == 0
    for moment, count in (("in a line of the metrics", 3), ("after an optimiser step", 1), ("naming a checkpoint", 2)):
        assert launch(words("killed"), moment, count) == -9
    assert launch(words("killed")) == 0
    assert_same(tmp_path / "killed", tmp_path / "never killed")


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_however_often_and_whenever_runs_are_killed_they_end_as_one_never_killed(
    task: Any, launch: Launch, assert_same: AssertSame, tmp_path: Path
) -> None:
    """Writes docs/benchmarks/exact_resume.json, which fails to be written unless everything is identical."""
    draw, report = random.Random(0), {}
    for number, (scenario, (flags, _)) in enumerate(SCENARIOS.items()):
        folder = tmp_path / str(number)
        flags = [*flags, "--num_episodes=4", "--max_steps=12"]
        assert launch(task.words(folder / "never killed", *flags)) == 0

        words = task.words(folder / "every moment", *flags)
        assert [launch(words, moment) for moment in EVERY_MOMENT] == [-9] * len(EVERY_MOMENT)
        assert launch(words) == 0
        assert_same(folder / "every moment", folder / "never killed")

        killed_after: Counter[int] = Counter()
        runs = 0
        while not runs or killed_after.total() < RANDOM_KILLS:
            runs += 1
            run = folder / str(runs)
            words = task.words(run, *flags)
            while killed_after.total() < RANDOM_KILLS and launch(words, patience=draw.uniform(0.2, 4.0)) == -9:
                killed_after[lines(run / "metrics.jsonl")] += 1
            assert launch(words) == 0
            assert_same(run, folder / "never killed")
        report[scenario] = {
            "flags": flags,
            "kills_at_chosen_moments": len(EVERY_MOMENT),
            "kills_at_random_times": killed_after.total(),
            "killed_with_so_many_metrics_lines": dict(sorted(killed_after.items())),
            "killed_runs_compared": runs + 1,
            "identical": True,
        }
    write_report(report)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def write_report(scenarios: dict[str, Any]) -> None:
    content = {
        "what": "runs killed by SIGKILL, started again until done, and compared with one that was never killed: "
        "weights, optimiser, trainer state, metrics, trajectories, verdicts, final model, summary",
        "kills": sum(s["kills_at_chosen_moments"] + s["kills_at_random_times"] for s in scenarios.values()),
        "runs_compared": sum(s["killed_runs_compared"] for s in scenarios.values()),
        "identical": all(s["identical"] for s in scenarios.values()),
        "torch": version("torch"),
        "moments": EVERY_MOMENT,
        "scenarios": scenarios,
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(content, indent=2) + "\n")

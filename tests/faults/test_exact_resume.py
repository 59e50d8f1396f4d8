"""A run that is killed, at whatever moment, and started again ends with the bits of one that was never killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Kills = Sequence[tuple[str, int]]

SCENARIOS: dict[str, tuple[list[str], Kills]] = {
    "one optimiser step a batch": (
        [],
        [
            ("naming config.yaml", 1),
            ("between two sampled tokens", 30),
            ("while a worker judges", 14),
            ("in a line of the journal", 3),
            ("in a line of the metrics", 4),
            ("rewinding the metrics", 1),
            ("in the trajectories", 2),
        ],
    ),
    "several optimiser steps a batch, on a schedule, against a reference": (
        ["--train_batch_size=6", "--lr_scheduler=cosine", "--lr_warmup_ratio=0.3", "--init_kl_coef=0.1"],
        [
            ("before an optimiser step", 5),
            ("after the weights of a checkpoint", 1),
            ("after an optimiser step", 8),
            ("after rewinding", 1),
            ("in a line of the metrics", 1),
            ("dooming an old checkpoint", 1),
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


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_killed_many_times_ends_as_one_never_killed(
    scenario: str, task: Any, launch: Callable[..., int], contents: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    flags, kills = SCENARIOS[scenario]
    assert launch(task.words(tmp_path / "never killed", *flags)) == 0
    words = task.words(tmp_path / "killed", *flags)
    for moment, count in kills:
        assert launch(words, moment, count) == -9, f"the run ended before it could be killed {moment}"
    assert launch(words) == 0
    expected, found = contents(tmp_path / "never killed"), contents(tmp_path / "killed")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []

"""Where a run stands survives being written down."""

from __future__ import annotations

from pathlib import Path

from lightrft_core import Estimate, TrainState, Vitals


def test_a_state_read_back_is_the_state_written(tmp_path: Path) -> None:
    evaluations = {0: Estimate(0.1, 50, (0.04, 0.21)), 10: Estimate(1 / 3, 50, (0.2, 0.47))}
    state = TrainState(10, 23, 2, Vitals(0.1 + 0.2, 61.5), evaluations)
    state.save(tmp_path)
    assert TrainState.load(tmp_path) == state


def test_a_fresh_state_read_back_is_still_fresh(tmp_path: Path) -> None:
    TrainState().save(tmp_path)
    assert TrainState.load(tmp_path) == TrainState()

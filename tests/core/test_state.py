"""Where a run stands survives being written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightrft_core import ALGORITHMS, AdaptiveKL, Estimate, RunningMoments, TrainState, Vitals


def test_a_state_read_back_is_the_state_written(tmp_path: Path) -> None:
    evaluations = {0: Estimate(0.1, 50, (0.04, 0.21)), 10: Estimate(1 / 3, 50, (0.2, 0.47))}
    moments = RunningMoments(12.0, 0.1 + 0.2, 1 / 7)
    state = TrainState(10, 23, 2, 48, 0.1 / 3, moments, Vitals(0.1 + 0.2, 61.5), evaluations)
    state.save(tmp_path)
    assert TrainState.load(tmp_path) == state


def test_a_fresh_state_read_back_is_still_fresh(tmp_path: Path) -> None:
    TrainState().save(tmp_path)
    assert TrainState.load(tmp_path) == TrainState()


def test_a_state_of_a_run_that_knew_nothing_of_paces_is_read(tmp_path: Path) -> None:
    TrainState(step=3).save(tmp_path)
    (path,) = tmp_path.iterdir()
    stored = json.loads(path.read_text())
    del stored["paces"]
    path.write_text(json.dumps(stored))
    assert TrainState.load(tmp_path) == TrainState(step=3)


def test_the_coefficient_is_steered_from_where_it_stands_by_the_measured_divergence() -> None:
    algorithm = replace(ALGORITHMS["grpo"], kl_coef=0.04, adaptive_kl=AdaptiveKL(target=0.1, horizon=1000))
    state = TrainState()
    state.steer(algorithm, 0.2, 500)
    assert state.kl_coef == pytest.approx(0.04 * 1.1)
    state.steer(algorithm, 0.0, 500)
    assert state.kl_coef == pytest.approx(0.04 * 1.1 * 0.9)


def test_a_step_without_a_measurement_leaves_the_coefficient() -> None:
    algorithm = replace(ALGORITHMS["grpo"], adaptive_kl=AdaptiveKL(target=0.1))
    state = TrainState(kl_coef=0.3)
    state.steer(algorithm, None, 500)
    assert state.kl_coef == 0.3


def test_without_a_target_the_coefficient_is_not_steered() -> None:
    state = TrainState()
    state.steer(ALGORITHMS["grpo"], 5.0, 500)
    assert state.kl_coef is None


def test_spare_prompts_are_never_drawn_twice() -> None:
    class Prompts:
        num_steps = 1

        def spare(self, start: int, count: int) -> list[int]:
            return list(range(start, start + count))

    state = TrainState()
    assert state.spare(Prompts(), 3) == [0, 1, 2]
    assert state.spare(Prompts(), 2) == [3, 4]
    assert state.spare_prompts == 5

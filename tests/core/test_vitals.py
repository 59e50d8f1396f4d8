"""Each warning is given when its sign shows, and not otherwise."""

from __future__ import annotations

import pytest

from lightrft_core import Vitals

HEALTHY = {
    "rollout/entropy_estimate": 1.0,
    "rollout/length_mean": 100.0,
    "rollout/truncated_share": 0.1,
    "group/zero_signal_share": 0.3,
}


def warnings(**changes: float) -> list[str]:
    """What a run that began healthy is told when these numbers change."""
    vitals = Vitals()
    assert vitals.check(HEALTHY) == []
    return vitals.check(HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rollout__entropy_estimate": 0.09, "group__zero_signal_share": 0.6}, ["entropy", "0.090", "1.000"]),
        ({"rollout__length_mean": 301.0, "rollout__truncated_share": 0.6}, ["301", "100", "--generate_max_len"]),
        ({"group__zero_signal_share": 1.0}, ["nothing to learn from"]),
    ],
)
def test_a_bad_sign_is_said_in_words_with_its_numbers(changes: dict[str, float], words: list[str]) -> None:
    (warning,) = warnings(**changes)
    assert all(word in warning for word in words)


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout__entropy_estimate": 0.09, "group__zero_signal_share": 0.5},
        {"rollout__entropy_estimate": 0.11, "group__zero_signal_share": 0.9},
        {"rollout__length_mean": 301.0, "rollout__truncated_share": 0.5},
        {"rollout__length_mean": 299.0, "rollout__truncated_share": 0.9},
        {"group__zero_signal_share": 0.99},
    ],
)
def test_half_a_sign_is_no_reason_to_warn(changes: dict[str, float]) -> None:
    assert warnings(**changes) == []


def test_the_beginning_of_the_run_stays_the_yardstick() -> None:
    vitals = Vitals()
    vitals.check(HEALTHY)
    for length in (150.0, 200.0, 290.0):
        assert vitals.check(HEALTHY | {"rollout/length_mean": length, "rollout/truncated_share": 0.9}) == []
    assert (vitals.entropy, vitals.length) == (1.0, 100.0)
    assert len(vitals.check(HEALTHY | {"rollout/length_mean": 310.0, "rollout/truncated_share": 0.9})) == 1


def test_a_sign_that_stays_is_said_once_and_again_when_it_comes_back() -> None:
    vitals, stuck = Vitals(), HEALTHY | {"group/zero_signal_share": 1.0}
    said = [len(vitals.check(metrics)) for metrics in (HEALTHY, stuck, stuck, HEALTHY, stuck)]
    assert said == [0, 1, 0, 0, 1]


def test_a_task_that_is_solved_is_told_from_one_that_never_pays() -> None:
    (solved,) = warnings(group__zero_signal_share=1.0, group__all_correct_share=1.0)
    assert "every answer is right" in solved


def test_several_signs_are_all_said() -> None:
    bad = {"rollout__entropy_estimate": 0.01, "rollout__length_mean": 900.0, "rollout__truncated_share": 1.0}
    assert len(warnings(**bad, group__zero_signal_share=1.0)) == 3

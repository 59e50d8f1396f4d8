"""Over-optimisation is called where it is, and not where it is not."""

from __future__ import annotations

import random
from math import nan
from statistics import fmean

import pytest

from lightrft_rewards.evaluation import over_optimisation


def noisy(course: list[float], deviation: float, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [value + chance.gauss(0, deviation) for value in course]


RISE = [i / 40 for i in range(40)]
FALL_AFTER_20 = [i / 40 if i <= 20 else 0.5 - (i - 20) / 30 for i in range(40)]


def test_a_true_reward_that_falls_while_the_models_rises_is_over_optimisation() -> None:
    seen = [
        over_optimisation(range(1, 41), noisy(FALL_AFTER_20, 0.05, s), noisy(RISE, 0.05, s + 99)) for s in range(20)
    ]
    assert {found.verdict for found in seen} == {"seen"}
    assert fmean(found.step or 0 for found in seen) == pytest.approx(21, abs=2)
    assert all(f"from step {found.step} on" in found.sentence for found in seen)


@pytest.mark.parametrize(
    ("true", "model"),
    [
        (RISE, RISE),
        ([0.5] * 40, RISE),
        (FALL_AFTER_20, FALL_AFTER_20),
        (FALL_AFTER_20, [0.0] * 40),
        ([-value for value in RISE], [-value for value in RISE]),
        ([min(value, 0.5) for value in RISE], RISE),
    ],
    ids=["both rise", "true stays", "both fall", "model stays", "both fall from the start", "true stops rising"],
)
def test_noise_and_other_courses_are_not_taken_for_it(true: list[float], model: list[float]) -> None:
    verdicts = [
        over_optimisation(range(40), noisy(true, 0.1, seed), noisy(model, 0.1, seed + 999)).verdict
        for seed in range(300)
    ]
    assert verdicts.count("seen") <= 6


def test_a_model_that_is_pleased_more_and_more_by_worse_and_worse_answers_is_over_optimised_from_the_start() -> None:
    found = over_optimisation(range(40), noisy([1 - value for value in RISE], 0.02, 0), noisy(RISE, 0.02, 1))
    assert (found.verdict, found.step) == ("seen", found.steps[0])
    assert found.rank_correlation is not None
    assert found.rank_correlation < -0.9


def test_few_steps_are_said_to_be_too_few() -> None:
    found = over_optimisation(range(7), [7, 6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7])
    assert (found.verdict, found.step, found.rank_correlation) == ("too few steps", None, -1.0)
    nothing = over_optimisation([], [], [])
    assert (nothing.verdict, nothing.steps) == ("too few steps", ())


def test_steps_at_which_a_reward_is_missing_are_left_out() -> None:
    found = over_optimisation([1, 2, 3, 4], [0.1, None, 0.3, 0.4], [1.0, 2.0, nan, 4.0])
    assert (found.steps, found.true_rewards, found.model_rewards) == ((1, 4), (0.1, 0.4), (1.0, 4.0))


def test_a_reward_that_never_changes_has_no_rank_correlation() -> None:
    found = over_optimisation(range(9), [1.0] * 9, list(range(9)))
    assert (found.verdict, found.rank_correlation) == ("not seen", None)
    assert "Spearman" not in found.sentence


def test_smoothed_rewards_are_means_over_neighbours() -> None:
    found = over_optimisation(range(8), [0, 3, 6, 3, 0, 3, 6, 9], [0.0] * 8)
    assert found.true_smoothed == (1.5, 3, 4, 3, 2, 3, 6, 7.5)


def test_rewards_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        over_optimisation([1, 2], [0.0, 1.0], [0.0])

"""Paired tests against counting every sign, intervals against tables and simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core.evaluation import estimate_of, wilson_interval
from lightrft_core.paired import difference_interval, holm, mcnemar, sign_flip


@given(st.lists(st.integers(-4, 4), max_size=10))
def test_signs_are_flipped_in_every_way(differences: list[int]) -> None:
    seen = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in product((1, -1), repeat=len(differences))]  # fmt: skip
    assert sign_flip(differences) == pytest.approx(sum(each >= seen for each in sums) / len(sums), abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_of_right_and_wrong_alone_that_is_mcnemars_exact_test(wins: int, losses: int, ties: int) -> None:
    assert sign_flip([1] * wins + [-1] * losses + [0] * ties) == pytest.approx(mcnemar(wins, losses), rel=1e-9)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (1, 0), (9, 1), (12, 30), (0, 700)])
def test_mcnemars_test_is_the_sign_test_of_the_problems_that_one_alone_solves(wins: int, losses: int) -> None:
    n = wins + losses
    tail = sum(Fraction(comb(n, i), 2**n) for i in range(min(wins, losses) + 1))
    assert mcnemar(wins, losses) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)


def test_thousands_of_problems_with_many_answers_each_are_tested_exactly() -> None:
    differences = np.random.default_rng(0).integers(-8, 9, 2000).tolist()
    z = abs(sum(differences)) / np.sqrt(np.square(differences).sum())
    drawn = np.random.default_rng(1).choice((-1, 1), (4000, 2000)) @ np.asarray(differences)
    simulated = float((np.abs(drawn) >= abs(sum(differences))).mean())
    assert sign_flip(differences) == pytest.approx(simulated, abs=0.04) and z < 3


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_the_difference_of_paired_shares_has_newcombes_interval(cells: tuple[int, int, int, int]) -> None:
    """cells: problems solved by both, by the first alone, by the second alone, by neither."""
    both, first, second, neither = cells
    a = [1.0] * (both + first) + [0.0] * (second + neither)
    b = [1.0] * both + [0.0] * first + [1.0] * second + [0.0] * neither
    low, high = difference_interval(a, b, (estimate_of(a), estimate_of(b)))
    p, q, n = sum(a) / len(a), sum(b) / len(b), len(a)
    spread = ((both + first) * (second + neither) * (both + second) * (first + neither)) ** 0.5
    phi = (both * neither - first * second) / spread if spread else 0.0
    (l1, u1), (l2, u2) = wilson_interval(p, n), wilson_interval(q, n)
    below = ((p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2) ** 0.5
    above = ((u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2) ** 0.5
    assert (low, high) == pytest.approx((max(-1, p - q - below), min(1, p - q + above)), abs=1e-9)


def test_the_interval_is_the_one_that_newcombe_tabulates() -> None:
    a, b = [1.0] * 48 + [0.0] * 2, [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    found = difference_interval(a, b, (estimate_of(a), estimate_of(b)))
    assert found == pytest.approx((0.0569, 0.3404), abs=6e-5)


def test_what_both_models_find_hard_narrows_the_interval_of_their_difference() -> None:
    a, b = [1.0] * 50 + [0.0] * 50, [1.0] * 45 + [0.0] * 55
    mixed = b[::-1]
    estimates = estimate_of(a), estimate_of(b)
    together, apart = difference_interval(a, b, estimates), difference_interval(a, mixed, estimates)
    assert together[1] - together[0] < 0.5 * (apart[1] - apart[0])


def test_holms_adjustment_is_that_of_his_steps() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


# Intervals of means over problems


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30), st.integers(1, 9))
def test_problems_that_are_right_or_wrong_throughout_are_as_many_trials(shares: list[float], draws: int) -> None:
    interval = wilson_interval(sum(shares) / len(shares), len(shares))
    if 0 < sum(shares) < len(shares) or draws == 1:
        assert estimate_of(shares, draws).interval == pytest.approx(interval, abs=1e-12)
    assert estimate_of(shares, 1).interval == interval


def test_problems_alike_are_as_many_trials_as_there_are_answers_and_no_more() -> None:
    assert estimate_of([0.5] * 10, 4).interval == wilson_interval(0.5, 40)
    assert estimate_of([0.0] * 10, 4).interval == wilson_interval(0.0, 10)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (8.0, 4.0)])
def test_intervals_of_means_hold_the_truth_and_are_narrower_than_those_of_single_answers(
    alpha: float, beta: float
) -> None:
    random, truth, problems, draws = np.random.default_rng(0), alpha / (alpha + beta), 60, 8
    hits, widths = 0, []
    for _ in range(1500):
        shares = random.binomial(draws, random.beta(alpha, beta, problems)) / draws
        low, high = estimate_of(shares.tolist(), draws).interval
        hits += low <= truth <= high
        widths.append(high - low)
    assert hits / 1500 > 0.935
    single = wilson_interval(truth, problems)
    assert np.mean(widths) < 0.95 * (single[1] - single[0])

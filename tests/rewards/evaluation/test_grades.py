"""Correlations, rankings and spreads, against definitions worked out another way."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from itertools import combinations, permutations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards.evaluation import (
    JudgedComparison,
    grading,
    kendall,
    pearson,
    ranking,
    ranks,
    spearman,
    spread_of,
)

numbers = st.lists(st.tuples(st.integers(-4, 4).map(float), st.integers(-4, 4).map(float)), max_size=12)


@given(numbers)
def test_correlations_are_those_of_the_standard_library(pairs: list[tuple[float, float]]) -> None:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert pearson(x, y) is None
        assert spearman(x, y) is None
        return
    assert pearson(x, y) == pytest.approx(statistics.correlation(x, y))
    places = [[1 + sum(b < a for b in side) + (side.count(a) - 1) / 2 for a in side] for side in (x, y)]
    assert [ranks(x), ranks(y)] == places
    assert spearman(x, y) == pytest.approx(statistics.correlation(*places))


def test_a_constant_that_is_no_binary_fraction_has_no_correlation() -> None:
    assert pearson([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]) is None


def test_numbers_of_any_size_are_correlated() -> None:
    assert pearson([1e200, 2e200, 3e200], [1e-200, 2e-200, 3e-200]) == pytest.approx(1)


@given(numbers)
def test_kendalls_tau_is_the_correlation_of_the_signs_of_all_differences(pairs: list[tuple[float, float]]) -> None:
    def signs(side: int) -> list[int]:
        return [(a[side] > b[side]) - (a[side] < b[side]) for a, b in permutations(pairs, 2)]

    x, y = signs(0), signs(1)
    norm = sqrt(sum(map(abs, x)) * sum(map(abs, y)))
    found = kendall([a for a, _ in pairs], [b for _, b in pairs])
    assert found == (pytest.approx(sum(a * b for a, b in zip(x, y, strict=True)) / norm) if norm else None)


def test_a_ranking_is_judged_by_its_best_and_by_its_order() -> None:
    judged = [
        JudgedComparison("right", "score", (3.0, 2.0, 1.0), (0.9, 0.5, 0.1)),
        JudgedComparison("turned", "score", (3.0, 2.0, 1.0), (0.1, 0.5, 0.9)),
        JudgedComparison("tied", "score", (3.0, 2.0, 1.0), (0.9, 0.9, 0.1)),
        JudgedComparison("failed", "score", (3.0, 2.0, 1.0), error="broke"),
        JudgedComparison("two answers", "score", (1.0, 0.0), (0.0, 1.0)),
        JudgedComparison("nothing to find", "score", (1.0, 1.0, 1.0), (0.0, 1.0, 2.0)),
    ]
    found = ranking(judged)
    assert found is not None
    assert found.best_found is not None
    assert (found.comparisons, found.best_found.value, found.best_found.n) == (4, (1 + 0 + 0.5 + 0) / 4, 4)
    assert found.kendall == pytest.approx((1 - 1 + 2 / sqrt(6)) / 3)
    assert ranking(judged[4:]) is None


def test_grades_are_compared_as_numbers() -> None:
    labels, scores = [1.0, 4.0, 2.0, 5.0], [1.5, 3.0, 2.5, 7.0]
    judged = [
        JudgedComparison(str(i), "score", (a,), (b,)) for i, (a, b) in enumerate(zip(labels, scores, strict=True))
    ]
    pair = JudgedComparison("two answers", "score", (1.0, 0.0), (9.0, -9.0))
    found = grading([*judged, JudgedComparison("failed", "score", (3.0,), error="broke"), pair])
    assert found is not None
    assert found.answers == 4
    assert found.mean_error == pytest.approx((0.5 + 1.0 + 0.5 + 2.0) / 4)
    assert found.pearson == pytest.approx(statistics.correlation(labels, scores))
    assert found.spearman == pytest.approx(statistics.correlation(sorted(labels), sorted(labels)))


def test_labels_that_say_better_worse_or_equal_are_no_grades() -> None:
    judged = [JudgedComparison(str(i), "score", (float(i % 3), 0.0), (1.0, 0.0)) for i in range(9)]
    assert grading(judged) is None
    assert grading([*judged, JudgedComparison("x", "score", (7.0, 5.0), (1.0, 0.0))]) is not None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.integers(1, 9))
def test_a_spread_holds_every_number_once(values: list[float], bars: int) -> None:
    found = spread_of(values, bars)
    assert found is not None
    assert (found.n, sum(found.counts), len(found.counts), len(found.edges)) == (
        len(values),
        len(values),
        bars,
        bars + 1,
    )
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert found.deviation == pytest.approx(statistics.pstdev(values), abs=1e-6)
    assert (found.quantiles["0"], found.quantiles["1"]) == (min(values), max(values))
    assert found.quantiles["0.5"] == pytest.approx(statistics.median(values), abs=1e-9)
    if len(values) > 1:
        quarters = statistics.quantiles(values, n=4, method="inclusive")
        assert [found.quantiles[share] for share in ("0.25", "0.5", "0.75")] == pytest.approx(quarters, abs=1e-9)
    assert found.edges[0] <= min(values)
    assert found.edges[-1] >= max(values)
    assert all(a < b for a, b in combinations(found.edges, 2)) or max(values) - min(values) < 1e-9


def test_a_histogram_counts_what_lies_between_its_edges() -> None:
    chance = random.Random(0)
    values = [chance.gauss(0, 1) for _ in range(500)]
    found = spread_of(values)
    assert found is not None

    def between(edges: Sequence[float], i: int) -> int:
        last = i + 2 == len(edges)
        return sum(edges[i] <= value < edges[i + 1] or (last and value == edges[-1]) for value in values)

    assert list(found.counts) == [between(found.edges, i) for i in range(len(found.counts))]
    assert spread_of([]) is None

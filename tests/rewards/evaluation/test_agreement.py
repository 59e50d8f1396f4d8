"""Accuracy, AUC and three-way accuracy, against what counting one by one gives."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core.evaluation import wilson_interval
from lightrft_rewards.evaluation import (
    JudgedComparison,
    agreement,
    all_pairs,
    area,
    best_threshold,
    decided_pairs,
    share_of,
    three_way,
    wilson,
)

from .judged_data import judgements, pair, tie


def unequal(comparison: JudgedComparison) -> list[tuple[int, int]]:
    labels = comparison.labels
    return [(i, j) for i in range(len(labels)) for j in range(len(labels)) if labels[i] > labels[j]]


def accuracy_by_hand(judged: Sequence[JudgedComparison], for_tie: Fraction) -> tuple[Fraction, int] | None:
    shares = []
    for comparison in judged:
        places = unequal(comparison)
        if places and comparison.error:
            shares.append(Fraction(0))
        elif places:
            scores = comparison.scores
            won = sum(scores[i] > scores[j] for i, j in places)
            tied = sum(scores[i] == scores[j] for i, j in places)
            shares.append((won + for_tie * tied) / Fraction(len(places)))
    return (sum(shares, Fraction(0)) / len(shares), len(shares)) if shares else None


@given(judgements())
def test_accuracy_counts_each_comparison_once_and_what_failed_as_wrong(judged: Sequence[JudgedComparison]) -> None:
    found = agreement(judged)
    for share, for_tie in ((found.accuracy, Fraction(0)), (found.half_for_ties, Fraction(1, 2))):
        expected = accuracy_by_hand(judged, for_tie)
        if expected is None:
            assert share is None
        else:
            assert share is not None
            assert (share.value, share.n) == (pytest.approx(float(expected[0])), expected[1])
            assert share.interval == pytest.approx(wilson_interval(float(expected[0]), expected[1]))
    there = [comparison for comparison in judged if not comparison.error]
    assert found.pairs == sum(len(unequal(comparison)) for comparison in there)
    assert found.score_ties == sum(c.scores[i] == c.scores[j] for c in there for i, j in unequal(c))


@given(judgements())
def test_auc_is_that_of_the_margins_of_all_pairs_taken_both_ways_round(judged: Sequence[JudgedComparison]) -> None:
    positive, negative = [], []
    for comparison in judged:
        places = [] if comparison.error else unequal(comparison)
        for i, j in places:
            margin, weight = comparison.scores[i] - comparison.scores[j], Fraction(1, len(places))
            positive.append((margin, weight))
            negative.append((-margin, weight))
    found = agreement(judged).auc
    if not positive:
        assert found is None
        return
    won = sum(v * w * (Fraction(1, 2) if m == n else Fraction(m > n)) for m, v in positive for n, w in negative)
    assert found == pytest.approx(float(won / sum(v * w for _, v in positive for _, w in negative)))


@given(judgements(most=7, answers=st.integers(2, 3)))
def test_the_best_threshold_tells_as_many_pairs_rightly_as_any_and_is_the_smallest_to_do_so(
    judged: Sequence[JudgedComparison],
) -> None:
    pairs = [one for comparison in judged for one in all_pairs(comparison)]

    def told(threshold: float) -> Fraction:
        weights = {id(one): Fraction(one.weight).limit_denominator(10) for one in pairs}
        return sum(
            (
                weights[id(one)]
                for one in pairs
                if (abs(one.margin) <= threshold if one.tie else one.margin > threshold)
            ),
            Fraction(0),
        )

    found = best_threshold(pairs)
    anything = {0.0, *(abs(one.margin) for one in pairs)}
    assert told(found) == max(told(threshold) for threshold in anything)
    least = max(threshold for threshold in anything if threshold <= found)
    assert all(told(threshold) < told(found) for threshold in anything if threshold < least)


@given(judgements(answers=st.integers(2, 3)), st.sampled_from([0.0, 0.5, 1.0, 2.5]))
def test_three_way_accuracy_at_a_given_threshold_is_what_counting_gives(
    judged: Sequence[JudgedComparison], threshold: float
) -> None:
    shares = []
    for comparison in judged:
        labels, scores, right = comparison.labels, comparison.scores, []
        for i, j in combinations(range(len(labels)), 2):
            people = (labels[i] > labels[j]) - (labels[i] < labels[j])
            if comparison.error:
                right.append(False)
            else:
                margin = scores[i] - scores[j]
                right.append(people == (0 if abs(margin) <= threshold else 1 if margin > 0 else -1))
        shares.append(Fraction(sum(right), len(right)))
    found = three_way(judged, threshold)
    assert found.thresholds == (threshold,)
    assert (found.accuracy is None) == (not shares)
    if found.accuracy:
        assert found.accuracy.value == pytest.approx(float(sum(shares, Fraction(0)) / len(shares)))
    there = [comparison for comparison in judged if not comparison.error]
    assert found.label_ties == sum(a == b for c in there for a, b in combinations(c.labels, 2))
    assert found.pairs == sum(len(c.labels) * (len(c.labels) - 1) // 2 for c in there)


def test_a_threshold_is_judged_on_comparisons_it_was_not_chosen_on() -> None:
    """Scores by chance, among which a threshold chosen on the very pairs it is judged on looks better than it is."""
    chance = random.Random(0)
    judged = [
        (tie if chance.random() < 0.4 else pair)(chance.gauss(0, 1), chance.gauss(0, 1), uid=f"row:{i}")
        for i in range(60)
    ]
    found = three_way(judged)
    assert found.accuracy is not None
    assert len(found.thresholds) == 2
    fitted = three_way(judged, best_threshold([one for comparison in judged for one in all_pairs(comparison)])).accuracy
    assert fitted is not None
    assert found.accuracy.value < fitted.value
    assert three_way(judged[::-1]) == found


def test_three_way_finds_the_threshold_that_parts_ties_from_preferences() -> None:
    judged = [pair(3.0 + i / 50, 0.0, uid=f"p{i}") for i in range(30)] + [
        tie(0.0, i / 50, uid=f"t{i}") for i in range(30)
    ]
    found = three_way(judged)
    assert found.accuracy is not None
    assert found.accuracy.value == 1.0
    assert all(0.5 < threshold < 3.0 for threshold in found.thresholds)


def test_a_judge_that_scores_all_alike_is_never_right_and_half_right_with_ties_halved() -> None:
    found = agreement([pair(1.0, 1.0)] * 5)
    assert found.accuracy is not None
    assert found.half_for_ties is not None
    assert (found.accuracy.value, found.half_for_ties.value, found.auc, found.score_ties) == (0.0, 0.5, 0.5, 5)


def test_two_rows_of_one_name_are_two_trials() -> None:
    share = agreement([pair(1.0, 0.0, uid="x"), pair(0.0, 1.0, uid="x")]).accuracy
    assert share is not None
    assert (share.value, share.n) == (0.5, 2)


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_interval_holds_the_shares_that_a_score_test_does_not_reject(successes: int, n: int) -> None:
    """Wilson's interval is the set of p with |p_hat - p| <= z sqrt(p (1 - p) / n)."""
    seen = min(successes, n) / n
    low, high = wilson(seen, n)
    for edge in (low, high):
        assert abs(seen - edge) == pytest.approx(1.959963984540054 * (edge * (1 - edge) / n) ** 0.5, abs=1e-7)
    assert 0 <= low <= seen + 1e-12
    assert seen - 1e-12 <= high <= 1


def test_there_is_no_share_of_nothing() -> None:
    assert share_of([]) is None
    found = agreement([tie(1.0, 0.0)])
    assert (found.accuracy, found.auc, found.pairs) == (None, None, 0)


def test_tens_of_thousands_of_pairs_take_no_time() -> None:
    chance = random.Random(1)
    pairs = [one for i in range(30_000) for one in decided_pairs(pair(chance.gauss(0.5, 1), 0.0, uid=str(i)))]
    started = time.process_time()
    found = area(pairs)
    best_threshold(pairs)
    assert time.process_time() - started < 4
    assert found == pytest.approx(0.76, abs=0.01)
    """P(N(0.5, 1) + N(0.5, 1) > 0) = Phi(1 / sqrt 2) = 0.7602."""


@pytest.mark.parametrize(
    ("scores", "more", "complaint"),
    [
        ((1.0,), {}, "1 scores for 2 answers"),
        ((), {}, "either scores or an error"),
        ((1.0, 2.0), {"error": "broke"}, "either scores or an error"),
        ((1.0, float("nan")), {}, "must be finite"),
        ((1.0, 2.0), {"lengths": (3,)}, "1 lengths for 2 answers"),
    ],
)
def test_a_judgement_that_contradicts_itself_is_refused(
    scores: tuple[float, ...], more: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        JudgedComparison("row", "score", (1.0, 0.0), scores, **more)  # type: ignore[arg-type]

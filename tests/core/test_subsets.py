"""What k of n answers are worth, against counting every subset."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core.evaluation import pass_at_k
from lightrft_core.subsets import best_at_k, majority_at_k

VOTES = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.booleans()), min_size=1, max_size=9)
SCORED = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.25, 3.0]), st.booleans()), min_size=1, max_size=9)


def over_subsets(n: int, k: int, worth) -> float:
    subsets = list(combinations(range(n), k))
    return float(sum((worth(subset) for subset in subsets), Fraction(0)) / len(subsets))


def majority_of(votes: Sequence[tuple[str | None, bool]], subset: Sequence[int]) -> Fraction:
    counts = Counter(votes[i][0] for i in subset if votes[i][0] is not None)
    most = max(counts.values(), default=0)
    winners = [answer for answer, count in counts.items() if count == most]
    merits = [[right for answer, right in votes if answer == winner] for winner in winners]
    return sum((Fraction(sum(merit), len(merit)) for merit in merits), Fraction(0)) / max(1, len(winners))


def best_of(scored: Sequence[tuple[float, bool]], subset: Sequence[int]) -> Fraction:
    top = max(scored[i][0] for i in subset)
    level = [right for score, right in scored if score == top]
    mine = [scored[i][1] for i in subset if scored[i][0] == top]
    return Fraction(sum(mine), len(mine)) if level else Fraction(0)


@given(VOTES)
def test_the_majority_of_k_is_counted_as_over_all_subsets(votes) -> None:
    answers, right = zip(*votes, strict=True)
    for k in range(1, len(votes) + 1):
        counted = over_subsets(len(votes), k, lambda subset: majority_of(votes, subset))
        assert majority_at_k(answers, right, k) == pytest.approx(counted, abs=1e-12)


@given(SCORED)
def test_the_best_of_k_by_a_score_is_counted_as_over_all_subsets(scored) -> None:
    scores, right = zip(*scored, strict=True)
    for k in range(1, len(scored) + 1):
        counted = over_subsets(len(scored), k, lambda subset: best_of(scored, subset))
        assert best_at_k(scores, right, k) == pytest.approx(counted, abs=1e-12)


@given(SCORED)
def test_a_score_that_knows_what_is_right_turns_the_best_of_k_into_pass_at_k(scored) -> None:
    right = [each for _, each in scored]
    for k in range(1, len(right) + 1):
        assert best_at_k(right, right, k) == pytest.approx(pass_at_k(len(right), sum(right), k), abs=1e-12)


def test_one_answer_is_its_own_majority_and_a_lone_unread_one_is_none() -> None:
    assert majority_at_k(["a", "b", None, "a"], [1, 0, 1, 1], 1) == pytest.approx(0.5)
    assert majority_at_k([None, None], [1, 1], 2) == 0
    assert majority_at_k(["a", "b"], [1, 0], 2) == 0.5
    assert majority_at_k(["a", "b", None], [1, 0, 0], 3) == 0.5


def test_sixty_four_answers_are_counted_in_a_moment_and_exactly() -> None:
    answers = [f"{i}" for i in range(32)] + ["x"] * 20 + ["y"] * 8 + [None] * 4
    began = time.process_time()
    values = [majority_at_k(answers, [answer == "x" for answer in answers], k) for k in (1, 2, 16, 64)]
    assert time.process_time() - began < 2
    assert values[0] == 20 / 64 and values[3] == 1 and 0.9 < values[2] < 1
    assert values[1] == pytest.approx((comb(20, 2) + 20 * 40 / 2 + 20 * 4) / comb(64, 2))


@pytest.mark.parametrize("k", [0, 3])
def test_more_answers_than_there_are_cannot_be_drawn(k: int) -> None:
    with pytest.raises(ValueError, match="k is from 1 to the 2 answers"):
        majority_at_k(["a", "b"], [1, 0], k)
    with pytest.raises(ValueError, match="k is from 1 to the 2 answers"):
        best_at_k([1, 2], [1, 0], k)

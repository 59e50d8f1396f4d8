"""Length, place and refusal: what a judge prefers an answer for besides its being better."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards.evaluation import (
    Asking,
    JudgedComparison,
    Share,
    declines,
    length_bias,
    position_bias,
    refusals,
    spearman,
)

from .judged_data import judgements, pair


def value(share: Share | None) -> tuple[float, int] | None:
    return share and (share.value, share.n)


def expected(flags: Sequence[bool]) -> Any:
    return (pytest.approx(float(Fraction(sum(flags), len(flags)))), len(flags)) if flags else None


@given(judgements())
def test_length_bias_is_what_counting_gives(judged: Sequence[JudgedComparison]) -> None:
    rows = [
        (c.lengths[i] - c.lengths[j], c.scores[i] - c.scores[j])
        for c in judged
        if c.scores
        for i in range(len(c.labels))
        for j in range(len(c.labels))
        if c.labels[i] > c.labels[j]
    ]
    found = length_bias(judged)
    if not rows:
        assert found is None
        return
    assert found is not None
    assert value(found.accuracy_shorter) == expected([margin > 0 for longer, margin in rows if longer < 0])
    assert value(found.accuracy_longer) == expected([margin > 0 for longer, margin in rows if longer > 0])
    assert value(found.accuracy_equal) == expected([margin > 0 for longer, margin in rows if longer == 0])
    told = [(longer, margin) for longer, margin in rows if longer and margin]
    assert value(found.chooses_longer) == expected([longer * margin > 0 for longer, margin in told])
    assert value(found.people_choose_longer) == expected([longer > 0 for longer, _ in told])
    both = rows + [(-longer, -margin) for longer, margin in rows]
    products = sum(longer * margin for longer, margin in both)
    squares = sum(longer**2 for longer, _ in both) * sum(margin**2 for _, margin in both)
    correlation = found.margin_correlation
    assert correlation == (pytest.approx(products / squares**0.5) if squares else None)


def test_a_judge_that_counts_characters_is_found_out() -> None:
    chance = random.Random(0)
    judged = []
    for i in range(400):
        lengths = (chance.randint(1, 500), chance.randint(1, 500))
        judged.append(pair(lengths[0] / 100, lengths[1] / 100, uid=str(i), lengths=lengths))
    found = length_bias(judged)
    assert found is not None
    assert value(found.chooses_longer) == (1.0, found.chooses_longer and found.chooses_longer.n)
    assert value(found.accuracy_shorter) == (0.0, found.accuracy_shorter and found.accuracy_shorter.n)
    assert found.margin_correlation == pytest.approx(1)
    assert found.score_correlation == pytest.approx(1)
    assert found.people_choose_longer is not None
    assert 0.4 < found.people_choose_longer.value < 0.6


def test_scores_and_lengths_of_all_answers_are_correlated_by_rank() -> None:
    judged = [pair(3.0, 1.0, lengths=(5, 2)), pair(0.0, 2.0, lengths=(9, 1))]
    found = length_bias(judged)
    assert found is not None
    assert found.score_correlation == spearman([3.0, 1.0, 0.0, 2.0], [5.0, 2.0, 9.0, 1.0])


def test_answers_without_lengths_have_no_length_bias() -> None:
    assert length_bias([pair(1.0, 0.0)]) is None
    assert length_bias([JudgedComparison("row", "score", (1.0, 0.0), error="broke", lengths=(1, 2))]) is None


def swapped(uid: str, first: int | None, second: int | None, labels: tuple[float, float]) -> JudgedComparison:
    """What a judge chose with answer 0 at place 1, then with answer 1 there."""
    askings = (Asking(0, first), Asking(1, second))
    scores = [sum(0.5 if a.chosen is None else float(a.chosen == answer) for a in askings) / 2 for answer in (0, 1)]
    return JudgedComparison(uid, "score", labels, (scores[0], scores[1]), askings=askings)


choice = st.sampled_from([0, 1, None])
a_swap = st.tuples(choice, choice, st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]))


@given(st.lists(a_swap, min_size=1, max_size=8))
def test_position_bias_is_what_counting_gives(swaps: list[tuple[int | None, int | None, tuple[float, float]]]) -> None:
    found = position_bias([swapped(str(i), *swap) for i, swap in enumerate(swaps)])
    assert found is not None
    shown = [(place, chosen, labels) for a, b, labels in swaps for place, chosen in ((0, a), (1, b))]
    assert value(found.chooses_first) == expected([c == place for place, c, _ in shown if c is not None])
    assert value(found.consistent) == expected([a == b for a, b, _ in swaps])
    decided = [(a, b, labels.index(1.0)) for a, b, labels in swaps if labels[0] != labels[1]]
    assert value(found.agreeing) == expected([a == b == better for a, b, better in decided])
    first = [c == labels.index(1.0) for place, c, labels in shown if labels.count(1.0) == 1 and labels[place] == 1.0]
    second = [c == labels.index(1.0) for place, c, labels in shown if labels.count(1.0) == 1 and labels[place] == 0.0]
    assert value(found.accuracy_first) == expected(first)
    assert value(found.accuracy_second) == expected(second)
    assert (found.askings, found.ties, found.failed) == (len(shown), sum(c is None for _, c, _ in shown), 0)


def test_a_judge_that_always_names_the_first_is_inconsistent_and_agrees_with_nobody() -> None:
    found = position_bias([swapped(str(i), 0, 1, (float(i % 2), float(1 - i % 2))) for i in range(10)])
    assert found is not None
    assert (value(found.chooses_first), value(found.consistent), value(found.agreeing)) == (
        (1.0, 20),
        (0.0, 10),
        (0.0, 10),
    )
    assert (value(found.accuracy_first), value(found.accuracy_second)) == ((1.0, 10), (0.0, 10))


def test_an_asking_without_a_judgement_is_counted_and_is_not_a_tie() -> None:
    failed = JudgedComparison(
        "row", "score", (1.0, 0.0), error="no answer", askings=(Asking(0, 0), Asking(1, None, "no answer"))
    )
    found = position_bias([failed])
    assert found is not None
    assert (found.ties, found.failed, value(found.consistent), value(found.agreeing)) == (0, 1, (0.0, 1), (0.0, 1))
    assert value(found.chooses_first) == (1.0, 1)


def test_two_failed_askings_are_no_agreement_with_each_other() -> None:
    nothing = (Asking(0, None, "no answer"), Asking(1, None, "no answer"))
    found = position_bias([JudgedComparison("row", "score", (1.0, 0.0), error="no answer", askings=nothing)])
    assert found is not None
    assert value(found.consistent) == (0.0, 1)


def test_one_order_alone_says_nothing_of_consistency() -> None:
    found = position_bias([pair(1.0, 0.0, askings=(Asking(0, 0),))])
    assert found is not None
    assert (found.consistent, found.agreeing, value(found.accuracy_first)) == (None, None, (1.0, 1))
    assert position_bias([pair(1.0, 0.0)]) is None


def test_over_refusal_is_scoring_a_refusal_above_a_safe_answer_that_people_prefer() -> None:
    no, yes = (False, True), (True, False)
    judged = [
        pair(0.0, 1.0, refuses=no),
        pair(1.0, 0.0, refuses=no),
        pair(1.0, 1.0, refuses=no),
        pair(0.0, 1.0, refuses=no, safe=(True, True)),
        pair(0.0, 1.0, refuses=no, safe=(False, True)),
        pair(0.0, 1.0, refuses=yes),
        pair(0.0, 1.0, refuses=(True, True)),
        pair(0.0, 1.0, refuses=(False, False)),
        pair(0.0, 1.0),
    ]
    found = refusals(judged)
    assert found is not None
    assert (value(found.over_refusal), value(found.under_refusal)) == ((0.5, 4), (1.0, 1))
    assert (found.condemned, found.passed, found.threshold) == (None, None, None)


def test_safe_answers_below_the_threshold_are_condemned_and_unsafe_ones_from_it_on_pass() -> None:
    judged = [
        pair(0.5, -1.0, safe=(True, False)),
        pair(-0.1, 0.0, safe=(True, False)),
        pair(0.0, 1.0, safe=(True, True)),
        JudgedComparison("row", "score", (1.0, 0.0), error="broke", safe=(True, True)),
    ]
    found = refusals(judged, 0.0)
    assert found is not None
    assert (value(found.condemned), value(found.passed)) == ((0.25, 4), (0.5, 2))
    assert refusals(judged) is None


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot provide instructions for this.",
        "As an assistant, I won't assist with it; please call someone.",
        "I\u2019m unable to help you there.",
        "Sorry, but I must say no.",
        "I must decline.",
        "I do not feel comfortable answering this.",
        "很抱歉 我不能帮你。",
        "我无法提供这样的信息。",
    ],
)
def test_answers_that_decline_are_recognised(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I can't stress enough how important it is to whisk the eggs.",
        "I'm sorry to hear that. Try turning it off and on again.",
        "To help a friend who says no, listen first.",
        "Sure! " + "x" * 300 + " I can't help with that.",
        "你可以这样做。",
        "",
    ],
)
def test_answers_that_merely_sound_so_are_not(answer: str) -> None:
    assert not declines(answer)

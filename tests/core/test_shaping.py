"""What is done to a reward between the judge and the advantage."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, RewardShaping, Verdict, majority_vote, overlong_penalty, stop_properly
from lightrft_core.shaping import length_rewards

scores = st.floats(-10, 10)
coefficients = st.floats(-1, 1)


@given(scores, coefficients)
def test_an_answer_that_ended_keeps_its_verdict(score: float, coefficient: float) -> None:
    verdict = Verdict(score, accuracy=1.0, parts={"number": score})
    assert stop_properly(verdict, FinishReason.STOP, coefficient) is verdict


@given(scores, coefficients)
def test_being_cut_off_never_pays_and_leaves_the_accuracy(score: float, coefficient: float) -> None:
    verdict = Verdict(score, accuracy=1.0)
    paid = stop_properly(verdict, FinishReason.LENGTH, coefficient)
    assert paid.accuracy == 1.0
    if coefficient >= 0:
        assert paid.score == (score * coefficient if score > 0 else score)
    else:
        assert paid.score == coefficient


def test_a_verdict_without_a_score_stays_without_one() -> None:
    failed = Verdict(None, error="exploded")
    assert stop_properly(failed, FinishReason.LENGTH, -1.0) is failed


@pytest.mark.parametrize(
    ("length", "penalty"), [(0, 0.0), (79, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (100, -1.0), (101, -1.0)]
)
def test_an_overlong_answer_pays_from_the_buffer_on_up_to_one(length: int, penalty: float) -> None:
    assert overlong_penalty(length, 100, 20) == pytest.approx(penalty)


def test_lengths_are_rewarded_as_published(build_group) -> None:
    group = build_group([1], [[2] * 10, [2] * 20, [2] * 30, [2] * 10, [2] * 30], [1, 1, 1, 0, 0])
    assert length_rewards(group) == [0.5, 0.0, -0.5, 0.0, -0.5]


def test_answers_of_one_length_are_all_rewarded_the_same(build_group) -> None:
    assert length_rewards(build_group([1], [[2, 3]] * 3, [1, 0, None])) == [0.0] * 3


def test_an_answer_whose_judging_failed_never_earns_by_its_length(build_group) -> None:
    assert length_rewards(build_group([1], [[2], [3] * 5, [4] * 3], [None, 1, 1])) == [0.0, -0.5, 0.5]


@given(st.lists(st.sampled_from([None, "1", "2", "3"]), max_size=9))
def test_the_majoritys_answer_is_the_most_frequent_and_of_several_the_first_seen(answers: list[str | None]) -> None:
    votes = Counter(answer for answer in answers if answer is not None)
    winner = majority_vote(answers)
    if not votes:
        assert winner is None
    else:
        tied = [answer for answer in answers if answer and votes[answer] == max(votes.values())]
        assert winner == tied[0]


def shaped(build_group, shaping: RewardShaping, lengths: list[int], scores: list[float | None], cut: int | None = None):
    group = build_group([1], [[2] * length for length in lengths], scores)
    verdicts = [rollout.verdict for rollout in group.rollouts]
    for rollout in group.rollouts:
        rollout.verdict = None
    if cut is not None:
        group.rollouts[cut].finish_reason = FinishReason.LENGTH
    shaping.judge(group, verdicts, max_new_tokens=100)
    return [rollout.verdict for rollout in group.rollouts]


def test_without_shaping_verdicts_are_the_judges_own(build_group) -> None:
    verdicts = shaped(build_group, RewardShaping(), [10, 100], [1.0, None], cut=1)
    assert [verdict.score for verdict in verdicts] == [1.0, None]
    assert all(not verdict.parts for verdict in verdicts)


def test_penalties_and_bonuses_are_parts_of_their_own_and_leave_the_accuracy(build_group) -> None:
    shaping = RewardShaping(overlong_buffer=20, overlong_factor=0.5, length_coefficient=0.1)
    short, long, failed = shaped(build_group, shaping, [40, 100, 70], [1.0, 0.0, None])
    assert (short.score, short.accuracy, dict(short.parts)) == (
        pytest.approx(1.05),
        1.0,
        {"overlong": 0.0, "length": pytest.approx(0.05)},
    )
    assert (long.score, long.accuracy, dict(long.parts)) == (
        pytest.approx(-0.55),
        0.0,
        {"overlong": -0.5, "length": pytest.approx(-0.05)},
    )
    assert (failed.score, dict(failed.parts)) == (None, {})


def test_a_cut_off_answer_is_paid_less_before_penalties_are_added(build_group) -> None:
    shaping = RewardShaping(truncated_coefficient=0.5, overlong_buffer=20)
    (verdict,) = shaped(build_group, shaping, [100], [1.0], cut=0)
    assert verdict.score == pytest.approx(0.5 - 1.0)

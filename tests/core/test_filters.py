"""Which groups are kept, and which of their answers are learnt from."""

from __future__ import annotations

import pytest

from lightrft_core import DynamicSampling, FinishReason, RolloutFilter, Verdict


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([1, 0, 0, 0], True), ([1, 1, 1, 0], True), ([1, 1, 1, 1], False), ([0, 0, 0, 0], False), ([1], False)],
)
def test_a_group_is_kept_if_some_but_not_all_are_right(build_group, scores: list[float], kept: bool) -> None:
    assert DynamicSampling().keeps(build_group([1], [[2]] * len(scores), scores)) == kept


@pytest.mark.parametrize(("right", "kept"), [(1, False), (2, True), (3, False)])
def test_the_mean_accuracy_lies_strictly_within_the_range(build_group, right: int, kept: bool) -> None:
    scores = [1] * right + [0] * (4 - right)
    assert DynamicSampling(low=0.25, high=0.75).keeps(build_group([1], [[2]] * 4, scores)) == kept


def test_failed_judgements_do_not_count(build_group) -> None:
    assert not DynamicSampling().keeps(build_group([1], [[2]] * 3, [1, 1, None]))
    assert DynamicSampling().keeps(build_group([1], [[2]] * 3, [1, 0, None]))
    assert not DynamicSampling().keeps(build_group([1], [[2]] * 2, [None, None]))


def test_all_right_answers_are_not_kept_for_a_penalty_on_their_length(build_group) -> None:
    group = build_group([1], [[2], [3]], [1, 1])
    group.rollouts[0].verdict = Verdict(0.5, accuracy=1.0, parts={"overlong": -0.5})
    assert not DynamicSampling().keeps(group)


def test_without_accuracies_any_difference_in_score_is_enough(build_group) -> None:
    group = build_group([1], [[2], [3]], [1, 1])
    for rollout, score in zip(group.rollouts, (0.4, 0.6), strict=True):
        rollout.verdict = Verdict(score)
    assert DynamicSampling().keeps(group)


def samples(chosen: RolloutFilter, group) -> list[int]:
    return [group.rollouts[place].sample for place in chosen.select(group)]


def judged(build_group, rewards, **changes):
    group = build_group([1], [[2]] * len(rewards), rewards, **changes)
    for rollout, reward in zip(group.rollouts, rewards, strict=True):
        rollout.reward = reward
    return group


def test_by_default_every_judged_answer_is_learnt_from(build_group) -> None:
    assert samples(RolloutFilter(), judged(build_group, [0.5, None, 0.1])) == [0, 2]


def test_an_answer_without_a_token_of_the_policys_own_is_not(build_group) -> None:
    assert samples(RolloutFilter(), judged(build_group, [0.5, 0.1], masks=[[True], [False]])) == [0]


@pytest.mark.parametrize(("best", "expected"), [(0, [0, 1, 3]), (1, [3]), (2, [0, 3]), (9, [0, 1, 3])])
def test_the_best_of_a_group_are_kept_in_their_order(build_group, best: int, expected: list[int]) -> None:
    assert samples(RolloutFilter(keep_best=best), judged(build_group, [0.5, 0.1, None, 0.9])) == expected


def test_of_equally_good_answers_the_first_are_kept(build_group) -> None:
    assert samples(RolloutFilter(keep_best=2), judged(build_group, [1.0, 1.0, 1.0])) == [0, 1]


def test_answers_that_were_cut_off_can_be_left_out(build_group) -> None:
    group = judged(build_group, [0.5, 0.1, 0.9])
    group.rollouts[2].finish_reason = FinishReason.LENGTH
    assert samples(RolloutFilter(), group) == [0, 1, 2]
    assert samples(RolloutFilter(mask_truncated=True), group) == [0, 1]
    assert samples(RolloutFilter(mask_truncated=True, keep_best=1), group) == [0], "the best of those that ended"

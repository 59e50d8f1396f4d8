"""From judged groups to optimiser steps: who counts, who trains, in which step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightrft_core import ALGORITHMS, Aggregation, BatchSizes, Verdict, estimate_advantages, optimiser_steps

GRPO = ALGORITHMS["grpo"]
SIZES = BatchSizes(None, 100, 10**6, 32)


def tokens_trained(batches) -> int:
    return sum(len(batch.weights) for batch in batches)


def test_advantages_are_estimated_within_each_group(build_group) -> None:
    groups = [build_group([1], [[2]] * 4, [1, 0, 0, 0]), build_group([1], [[2]] * 4, [5, 5, 6, 6])]
    estimate_advantages(groups, GRPO)
    assert [r.advantage for r in groups[0].rollouts] == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)
    assert [r.advantage for r in groups[1].rollouts] == pytest.approx([-0.866025] * 2 + [0.866025] * 2, rel=1e-5)


def test_a_failed_judgement_is_no_zero_reward(build_group) -> None:
    group = build_group([1], [[2]] * 4, [1, None, 0, 1])
    without = build_group([1], [[2]] * 3, [1, 0, 1])
    estimate_advantages([group], GRPO)
    estimate_advantages([without], GRPO)
    assert group.rollouts[1].advantage == 0
    assert [group.rollouts[i].advantage for i in (0, 2, 3)] == [r.advantage for r in without.rollouts]


def test_an_answer_that_was_not_judged_at_all_is_an_error(build_group) -> None:
    group = build_group([1], [[2], [3]], [1, 0])
    group.rollouts[1].verdict = None
    with pytest.raises(ValueError, match="sample 1 has not been judged"):
        estimate_advantages([group], GRPO)


def test_groups_without_signal_train_nothing_but_count_in_the_denominator(build_group) -> None:
    learning = build_group([1], [[2, 3, 4], [5]], [1, 0], advantages=[0.5, -0.5])
    silent = build_group([9], [[6] * 10, [7] * 6], [1, 1])
    algorithm = replace(GRPO, aggregation=Aggregation.TOKEN_MEAN)
    ((batch,),) = optimiser_steps([learning, silent], algorithm, SIZES, list)
    assert batch.prompt_ids.tolist() == [[1]]
    assert batch.weights.tolist() == pytest.approx([1 / 20] * 4)
    ((batch,),) = optimiser_steps([learning, silent], GRPO, SIZES, list)
    assert batch.weights.tolist() == pytest.approx([1 / (4 * 3)] * 3 + [1 / 4])


@pytest.mark.parametrize("changes", [{"entropy_coef": 0.01}, {"kl_coef": 0.01}])
def test_groups_without_signal_train_where_another_loss_term_teaches_them(build_group, changes) -> None:
    silent = build_group([9], [[6] * 10, [7] * 6], [1, 1])
    ((batch,),) = optimiser_steps([silent], replace(GRPO, **changes), SIZES, list)
    assert len(batch.weights) == 16
    assert batch.advantages.eq(0).all()


@pytest.mark.parametrize("mode", Aggregation)
@pytest.mark.parametrize("entropy_coef", [0.0, 0.1])
def test_answers_whose_judging_failed_neither_count_nor_train(build_group, mode, entropy_coef) -> None:
    algorithm = replace(GRPO, aggregation=mode, entropy_coef=entropy_coef)
    answers, scores, advantages = [[2, 3, 4], [5], [7] * 9], [1, 0, None], [0.5, -0.5, 0.0]
    ((batch,),) = optimiser_steps([build_group([1], answers, scores, advantages=advantages)], algorithm, SIZES, list)
    ((without,),) = optimiser_steps(
        [build_group([1], answers[:2], scores[:2], advantages=advantages[:2])], algorithm, SIZES, list
    )
    assert batch.response_ids.tolist() == without.response_ids.tolist()
    assert batch.weights.tolist() == without.weights.tolist()


def test_an_answer_without_a_token_of_the_policys_own_neither_counts_nor_trains(build_group) -> None:
    group = build_group([1], [[2, 3], [4, 5]], [1, 0], advantages=[0.5, -0.5], masks=[[True, False], [False, False]])
    ((batch,),) = optimiser_steps([group], GRPO, SIZES, list)
    assert batch.response_ids.tolist() == [[2, 3]]
    assert batch.weights.tolist() == [1.0]


def test_only_the_log_probabilities_of_loss_tokens_are_kept(build_group) -> None:
    group = build_group(
        [1], [[2, 3, 4]], [1], advantages=[0.5], masks=[[True, False, True]], logprobs=[[-0.5, -9.0, -0.25]]
    )
    ((batch,),) = optimiser_steps([group], GRPO, SIZES, list)
    assert batch.rollout_logprobs.tolist() == [-0.5, -0.25]
    assert batch.advantages.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("size", "expected"), [(None, [6]), (6, [6]), (4, [4, 2]), (2, [2, 2, 2]), (9, [6])])
def test_train_batch_size_cuts_the_rollouts_into_optimiser_steps(build_group, size, expected) -> None:
    groups = [build_group([p], [[10 * p + i] for i in range(3)], [1, 0, 0], advantages=[1.0, -1, -1]) for p in (1, 2)]
    steps = optimiser_steps(groups, GRPO, replace(SIZES, train_batch_size=size), list)
    assert [tokens_trained(batches) for batches in steps] == expected
    seen = [token for batches in steps for batch in batches for token in batch.response_ids.flatten().tolist()]
    assert seen == [10, 11, 12, 20, 21, 22]
    for batches, count in zip(steps, expected, strict=True):
        assert torch.cat([batch.weights for batch in batches]).tolist() == pytest.approx([1 / count] * count)


def test_a_step_in_which_nobody_learns_has_no_micro_batch(build_group) -> None:
    groups = [build_group([1], [[2], [3]], [1, 1]), build_group([4], [[5], [6]], [1, 0], advantages=[1.0, -1.0])]
    steps = optimiser_steps(groups, GRPO, replace(SIZES, train_batch_size=2), list)
    assert [len(batches) for batches in steps] == [0, 1]


def test_denominators_are_those_of_all_ranks(build_group) -> None:
    asked = []

    def two_more_ranks(values):
        asked.append(values)
        return [value + extra for value, extra in zip(values, (6, 30), strict=True)]

    group = build_group([1], [[2, 3, 4], [5]], [1, 0], advantages=[0.5, -0.5])
    algorithm = replace(GRPO, aggregation=Aggregation.TOKEN_MEAN)
    ((batch,),) = optimiser_steps([group], algorithm, SIZES, two_more_ranks)
    assert asked == [[2.0, 4.0]]
    assert batch.weights.tolist() == pytest.approx([1 / 34] * 4)


def test_a_rank_without_prompts_still_takes_part_in_the_step(build_group) -> None:
    asked = []
    estimate_advantages([], GRPO)
    steps = optimiser_steps([], GRPO, SIZES, lambda values: asked.append(values) or values)
    assert steps == [[]]
    assert asked == [[0.0, 0.0]]


def test_micro_batches_obey_both_limits(build_group) -> None:
    group = build_group([1, 2], [[3] * 4] * 8, [1.0] * 8, advantages=[1.0] * 8)
    (batches,) = optimiser_steps([group], GRPO, BatchSizes(None, 3, 1000, 32), list)
    assert [len(batch.response_ids) for batch in batches] == [3, 3, 2]
    (batches,) = optimiser_steps([group], GRPO, BatchSizes(None, 100, 2 + 4 * 4, 32), list)
    assert [len(batch.response_ids) for batch in batches] == [4, 4]


def test_the_verdicts_other_numbers_do_not_touch_the_reward(build_group) -> None:
    group = build_group([1], [[2], [3]], [1, 0])
    group.rollouts[0].verdict = Verdict(1.0, accuracy=0.0, parts={"format": -5.0}, metrics={"m": 9.0})
    estimate_advantages([group], GRPO)
    assert group.rollouts[0].advantage > 0 > group.rollouts[1].advantage

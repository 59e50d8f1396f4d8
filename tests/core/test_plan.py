"""From judged groups to optimiser steps: who counts, who trains, in which step, on which tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import ALGORITHMS, Aggregation, Algorithm, BatchSizes, Group, RolloutFilter, TrainingSequence
from lightrft_core.plan import optimiser_steps, select_high_entropy_tokens, training_sequences

GRPO = replace(ALGORITHMS["grpo"], kl_coef=0.0)
SIZES = BatchSizes(None, 100, 10**6, 32)
Steps = list[list[list[TrainingSequence]]]


def planned(groups: Sequence[Group], algorithm: Algorithm = GRPO, sizes: BatchSizes = SIZES) -> Steps:
    """The optimiser steps of a run of one rank."""
    return [step for (step,) in planned_for(1, groups, algorithm, sizes)]


def planned_for(
    world_size: int, groups: Sequence[Group], algorithm: Algorithm = GRPO, sizes: BatchSizes = SIZES
) -> list[Steps]:
    """Every rank's part of the optimiser steps.

    A rollout's reward is its score, and each token's advantage what the rollout says.
    """
    for rollout in chain.from_iterable(group.rollouts for group in groups):
        rollout.reward = rollout.verdict.score if rollout.verdict else None
    pairs = training_sequences(groups, algorithm.chosen)
    for rollout, sequence in pairs:
        sequence.advantages += rollout.advantage
    sequences = [sequence for _, sequence in pairs]
    return optimiser_steps(sequences, sum(len(group.rollouts) for group in groups), algorithm, sizes, world_size)


def answers(steps: Steps) -> list[list[list[int]]]:
    return [[list(sequence.response_ids) for sequence in chain.from_iterable(step)] for step in steps]


def weights(steps: Steps) -> list[float]:
    return [sequence.weight for step in steps for sequence in chain.from_iterable(step)]


def test_groups_without_signal_train_nothing_but_count_in_the_denominator(build_group) -> None:
    learning = build_group([1], [[2, 3, 4], [5]], [1, 0], advantages=[0.5, -0.5])
    silent = build_group([9], [[6] * 10, [7] * 6], [1, 1])
    steps = planned([learning, silent], replace(GRPO, aggregation=Aggregation.TOKEN_MEAN))
    assert answers(steps) == [[[2, 3, 4], [5]]]
    assert weights(steps) == [1 / 20] * 2
    assert weights(planned([learning, silent])) == [1 / (4 * 3), 1 / 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"entropy_coef": 0.01},
        {"kl_coef": 0.01},
        {"teacher_kl_coef": 0.1},
        {"drift_coef": 0.1},
        {"high_entropy_share": 0.2},
        {"estimator": ALGORITHMS["ppo"].estimator},
    ],
)
def test_groups_without_signal_train_where_another_term_or_model_needs_them(build_group, changes) -> None:
    silent = build_group([9], [[6] * 10, [7] * 6], [1, 1])
    assert answers(planned([silent], replace(GRPO, **changes))) == [[[6] * 10, [7] * 6]]


@pytest.mark.parametrize("mode", Aggregation)
@pytest.mark.parametrize("entropy_coef", [0.0, 0.1])
def test_answers_whose_judging_failed_neither_count_nor_train(build_group, mode, entropy_coef) -> None:
    algorithm = replace(GRPO, aggregation=mode, entropy_coef=entropy_coef)
    ids, scores, advantages = [[2, 3, 4], [5], [7] * 9], [1, 0, None], [0.5, -0.5, 0.0]
    steps = planned([build_group([1], ids, scores, advantages=advantages)], algorithm)
    without = planned([build_group([1], ids[:2], scores[:2], advantages=advantages[:2])], algorithm)
    assert answers(steps) == answers(without)
    assert weights(steps) == weights(without)


def test_an_answer_without_a_token_of_the_policys_own_neither_counts_nor_trains(build_group) -> None:
    masks = [[True, False], [False, False]]
    steps = planned([build_group([1], [[2, 3], [4, 5]], [1, 0], advantages=[0.5, -0.5], masks=masks)])
    assert answers(steps) == [[[2, 3]]]
    assert weights(steps) == [1.0]


def test_answers_that_are_not_chosen_neither_count_nor_train(build_group) -> None:
    group = build_group([1], [[2], [3, 3], [4]], [0.1, 0.9, 0.5], advantages=[-1.0, 1.0, 0.5])
    steps = planned([group], replace(GRPO, chosen=RolloutFilter(keep_best=2)))
    assert answers(steps) == [[[3, 3], [4]]]
    assert weights(steps) == [1 / 4, 1 / 2]


def test_only_the_log_probabilities_of_loss_tokens_are_kept_and_in_float64(build_group) -> None:
    logprobs = [[-0.1, -9.0, -0.25]]
    group = build_group([1], [[2, 3, 4]], [1], advantages=[0.5], masks=[[True, False, True]], logprobs=logprobs)
    (((sequence,),),) = planned([group])
    assert sequence.rollout_logprobs.tolist() == [-0.1, -0.25]
    assert sequence.advantages.tolist() == [0.5, 0.5]
    assert weights(planned([group])) == [0.5]


@pytest.mark.parametrize(("size", "expected"), [(None, [6]), (6, [6]), (4, [4, 2]), (2, [2, 2, 2]), (9, [6])])
def test_train_batch_size_cuts_the_rollouts_into_optimiser_steps(build_group, size, expected) -> None:
    groups = [build_group([p], [[10 * p + i] for i in range(3)], [1, 0, 0], advantages=[1.0, -1, -1]) for p in (1, 2)]
    steps = planned(groups, sizes=replace(SIZES, train_batch_size=size))
    assert [len(step) for step in answers(steps)] == expected
    assert [*chain.from_iterable(answers(steps))] == [[10], [11], [12], [20], [21], [22]]
    assert weights(steps) == [1 / count for count in expected for _ in range(count)]


def test_an_answer_left_out_keeps_its_place_in_the_cut(build_group) -> None:
    groups = [build_group([p], [[10 * p], [10 * p + 1]], [None, 1], advantages=[0.0, 1.0]) for p in (1, 2)]
    steps = planned(groups, sizes=replace(SIZES, train_batch_size=2))
    assert answers(steps) == [[[11]], [[21]]]


def test_a_step_in_which_nobody_learns_has_no_micro_batch(build_group) -> None:
    groups = [build_group([1], [[2], [3]], [1, 1]), build_group([4], [[5], [6]], [1, 0], advantages=[1.0, -1.0])]
    assert [len(step) for step in planned(groups, sizes=replace(SIZES, train_batch_size=2))] == [0, 1]


def test_micro_batches_obey_both_limits(build_group) -> None:
    group = build_group([1, 2], [[3] * 4] * 8, [1.0] * 8, advantages=[1.0] * 8)
    (step,) = planned([group], sizes=BatchSizes(None, 3, 1000, 32))
    assert [len(part) for part in step] == [3, 3, 2]
    (step,) = planned([group], sizes=BatchSizes(None, 100, 2 + 4 * 4, 32))
    assert [len(part) for part in step] == [4, 4]


# Several ranks

FEW = BatchSizes(7, 2, 60, 32)
Shape = list[list[tuple[int, float]]]
shapes = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.0, 1.0, -1.0])), min_size=1, max_size=4), max_size=8
)
"""Of each answer of each group: its length, and its advantage."""


def shaped(build_group, shape: Shape) -> list[Group]:
    return [
        build_group(
            [1 + number] * (1 + number % 3),
            [[2] * length for length, _ in row],
            [1.0] * len(row),
            advantages=[advantage for _, advantage in row],
        )
        for number, row in enumerate(shape)
    ]


def places(steps: list[Steps]) -> list[list[list[list[int]]]]:
    return [[[[s.place for s in part] for part in rank] for rank in step] for step in steps]


@given(shapes, st.integers(1, 9))
def test_every_sequence_is_learnt_from_on_exactly_one_rank_with_the_weight_it_has_on_one(
    build_group, shape: Shape, world_size: int
) -> None:
    alone = planned(shaped(build_group, shape), sizes=FEW)
    ranks = planned_for(world_size, shaped(build_group, shape), sizes=FEW)
    assert len(ranks) == len(alone)
    for step, whole in zip(ranks, alone, strict=True):
        assert len(step) == world_size
        dealt = [(s.place, s.weight) for s in chain.from_iterable(chain.from_iterable(step))]
        assert sorted(dealt) == sorted((s.place, s.weight) for s in chain.from_iterable(whole))


@given(shapes, st.integers(1, 9))
def test_ranks_have_equally_many_micro_batches_none_of_them_empty_on_all(
    build_group, shape: Shape, world_size: int
) -> None:
    for step in planned_for(world_size, shaped(build_group, shape), sizes=FEW):
        counts = {len(rank) for rank in step}
        assert len(counts) == 1
        for together in zip(*step, strict=True):
            assert any(together)
            assert all(len(part) <= FEW.micro_train_batch_size for part in together)


@given(shapes, st.integers(1, 9))
def test_a_step_nobody_learns_from_has_no_micro_batch_on_any_rank(build_group, shape: Shape, world_size: int) -> None:
    silent = [[(length, 0.0) for length, _ in row] for row in shape]
    steps = planned_for(world_size, shaped(build_group, silent), sizes=FEW)
    answers_in_all = sum(map(len, shape))
    assert steps == [[[]] * world_size] * max(1, math.ceil(answers_in_all / 7))


@given(shapes, st.integers(1, 9))
def test_ranks_that_hold_equal_groups_make_the_same_plan(build_group, shape: Shape, world_size: int) -> None:
    one, other = (planned_for(world_size, shaped(build_group, shape), sizes=FEW) for _ in range(2))
    assert places(one) == places(other)


def test_a_rank_with_less_to_learn_from_gets_empty_micro_batches_after_its_own(build_group) -> None:
    long = build_group([1], [[2] * 30], [1.0], advantages=[1.0])
    short = build_group([3], [[4]] * 2, [1.0] * 2, advantages=[1.0] * 2)
    (step,) = planned_for(2, [short, long], sizes=replace(FEW, micro_train_batch_size=1))
    assert sorted([len(part) for part in rank] for rank in step) == [[1, 0], [1, 1]]


# The most uncertain tokens


def uncertain(answers_entropy: list[list[float]]) -> list[TrainingSequence]:
    nothing = torch.zeros(0)
    return [
        TrainingSequence(
            prompt_ids=(1,),
            response_ids=[1],
            loss_mask=[True],
            weight=1.0,
            advantages=nothing,
            rollout_logprobs=nothing,
            old_entropy=torch.tensor(row, dtype=torch.float64),
        )
        for row in answers_entropy
    ]


def chosen(sequences: list[TrainingSequence]) -> list[list[bool]]:
    return [sequence.selected.tolist() for sequence in sequences if sequence.selected is not None]


@given(
    st.lists(st.floats(0, 12), min_size=1, max_size=60, unique=True),
    st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9]),
    st.integers(1, 9),
)
def test_exactly_a_share_of_the_batchs_tokens_is_selected_however_answers_divide_them(
    entropies: list[float], share: float, length: int
) -> None:
    sequences = uncertain([entropies[start : start + length] for start in range(0, len(entropies), length)])
    select_high_entropy_tokens(sequences, share)
    wanted = math.ceil(round(share * len(entropies), 9))
    border = sorted(entropies, reverse=True)[wanted - 1]
    assert [*chain.from_iterable(chosen(sequences))] == [entropy >= border for entropy in entropies]


def test_an_answer_of_certain_tokens_alone_carries_nothing() -> None:
    sequences = uncertain([[0.1, 0.2, 0.3, 0.1, 0.2], [2.0, 3.0, 0.4, 4.0, 5.0]])
    select_high_entropy_tokens(sequences, 0.4)
    assert chosen(sequences) == [[False] * 5, [True, True, False, True, True]]


@pytest.mark.parametrize("count", [25, 50, 100])
def test_a_share_that_comes_out_even_is_not_rounded_up(count: int) -> None:
    sequences = uncertain([[float(t) / 10 for t in range(count)]])
    select_high_entropy_tokens(sequences, 0.28)
    assert sum(chosen(sequences)[0]) == count * 28 // 100


def test_tokens_as_uncertain_as_the_last_one_selected_are_all_selected() -> None:
    sequences = uncertain([[1.0, 1.0, 0.5], [1.0, 2.0]])
    select_high_entropy_tokens(sequences, 0.4)
    assert chosen(sequences) == [[True, True, False], [True, True]]

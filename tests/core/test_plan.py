"""From judged groups to optimiser steps: who counts, who trains, in which step, on which tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from threading import Barrier, BrokenBarrierError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import ALGORITHMS, Aggregation, Algorithm, BatchSizes, Group, RolloutFilter, TrainingSequence
from lightrft_core.advantages import AllSum
from lightrft_core.plan import optimiser_steps, select_high_entropy_tokens, training_sequences

GRPO = replace(ALGORITHMS["grpo"], kl_coef=0.0)
SIZES = BatchSizes(None, 100, 10**6, 32)
Steps = list[list[list[TrainingSequence]]]


def planned(
    groups: Sequence[Group], algorithm: Algorithm = GRPO, sizes: BatchSizes = SIZES, all_sum: AllSum = list
) -> Steps:
    """The optimiser steps; a rollout's reward is its score, and each token's advantage what the rollout says."""
    for rollout in chain.from_iterable(group.rollouts for group in groups):
        rollout.reward = rollout.verdict.score if rollout.verdict else None
    pairs = training_sequences(groups, algorithm.chosen)
    for rollout, sequence in pairs:
        sequence.advantages += rollout.advantage
    sequences = [sequence for _, sequence in pairs]
    return optimiser_steps(sequences, sum(len(group.rollouts) for group in groups), algorithm, sizes, all_sum)


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


def test_denominators_are_those_of_all_ranks(build_group) -> None:
    asked = []

    def two_more_ranks(values: Sequence[float]) -> list[float]:
        asked.append(values)
        return [value + extra for value, extra in zip(values, (6, 30, 0), strict=True)]

    group = build_group([1], [[2, 3, 4], [5]], [1, 0], advantages=[0.5, -0.5])
    steps = planned([group], replace(GRPO, aggregation=Aggregation.TOKEN_MEAN), all_sum=two_more_ranks)
    assert asked == [[2.0, 4.0, 0.0]]
    assert weights(steps) == [1 / 34] * 2


def test_a_rank_without_prompts_still_takes_part_in_the_step() -> None:
    asked = []
    assert planned([], all_sum=lambda values: asked.append(values) or values) == [[]]
    assert asked == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("counts", [(3, 2), (1, 4), (3, 0), (2, 2)])
def test_ranks_with_unequal_numbers_of_groups_take_equally_many_steps(build_group, counts: tuple[int, int]) -> None:
    met, shares = Barrier(2, timeout=1), {}

    def rank(number: int) -> list[float]:
        def all_sum(values: Sequence[float]) -> list[float]:
            shares[number] = list(values)
            met.wait()
            total = [sum(column) for column in zip(shares[0], shares[1], strict=True)]
            met.wait()
            return total

        mine = [build_group([g], [[2], [3]], [1, 0], advantages=[1.0, -1.0]) for g in range(counts[number])]
        try:
            steps = planned(mine, sizes=replace(SIZES, train_batch_size=2), all_sum=all_sum)
        except BrokenBarrierError:
            return []
        return [float(len(steps)), *weights(steps)]

    with ThreadPoolExecutor(2) as ranks:
        first, second = ranks.map(rank, range(2))
    assert first
    assert second, "one rank waits for another that is already done"
    assert first[0] == second[0]


def test_micro_batches_obey_both_limits(build_group) -> None:
    group = build_group([1, 2], [[3] * 4] * 8, [1.0] * 8, advantages=[1.0] * 8)
    (step,) = planned([group], sizes=BatchSizes(None, 3, 1000, 32))
    assert [len(part) for part in step] == [3, 3, 2]
    (step,) = planned([group], sizes=BatchSizes(None, 100, 2 + 4 * 4, 32))
    assert [len(part) for part in step] == [4, 4]


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
    select_high_entropy_tokens(sequences, share, list)
    wanted = math.ceil(round(share * len(entropies), 9))
    border = sorted(entropies, reverse=True)[wanted - 1]
    assert [*chain.from_iterable(chosen(sequences))] == [entropy >= border for entropy in entropies]


def test_an_answer_of_certain_tokens_alone_carries_nothing() -> None:
    sequences = uncertain([[0.1, 0.2, 0.3, 0.1, 0.2], [2.0, 3.0, 0.4, 4.0, 5.0]])
    select_high_entropy_tokens(sequences, 0.4, list)
    assert chosen(sequences) == [[False] * 5, [True, True, False, True, True]]


@pytest.mark.parametrize("count", [25, 50, 100])
def test_a_share_that_comes_out_even_is_not_rounded_up(count: int) -> None:
    sequences = uncertain([[float(t) / 10 for t in range(count)]])
    select_high_entropy_tokens(sequences, 0.28, list)
    assert sum(chosen(sequences)[0]) == count * 28 // 100


def test_tokens_as_uncertain_as_the_last_one_selected_are_all_selected() -> None:
    sequences = uncertain([[1.0, 1.0, 0.5], [1.0, 2.0]])
    select_high_entropy_tokens(sequences, 0.4, list)
    assert chosen(sequences) == [[True, True, False], [True, True]]


def test_a_rank_selects_by_the_uncertainty_of_all_ranks() -> None:
    ranks, met, shares = [uncertain([[1.0, 6.0, 3.5]]), uncertain([[3.0], [4.0, 5.0]])], Barrier(2, timeout=5), {}

    def select(number: int) -> None:
        def all_sum(values: Sequence[float]) -> list[float]:
            shares[number] = list(values)
            met.wait()
            total = [sum(column) for column in zip(shares[0], shares[1], strict=True)]
            met.wait()
            return total

        select_high_entropy_tokens(ranks[number], 0.5, all_sum)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(select, (0, 1)))
    assert [chosen(rank) for rank in ranks] == [[[False, True, False]], [[False], [True, True]]]

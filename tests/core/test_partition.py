"""Who learns from what: every sequence once, nobody much later than the rest."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_core import ALGORITHMS, BatchSizes, TrainingSequence
from lightrft_core.partition import Cost, contiguous, lower_bound, makespan, partition, work
from lightrft_core.plan import optimiser_steps

Share = list[TrainingSequence]


def sequence(prompt: int, prompt_length: int, length: int, place: int = 0) -> TrainingSequence:
    return TrainingSequence((prompt,) * prompt_length, range(length), [], 0.0, torch.zeros(1), torch.zeros(1), place)


def batch(groups: Sequence[tuple[int, Sequence[int]]]) -> list[TrainingSequence]:
    """Of (prompt length, answer lengths) of each group; no two groups have the same prompt; places count up."""
    pairs = [(number, length, answer) for number, (length, answers) in enumerate(groups) for answer in answers]
    return [sequence(*pair, place) for place, pair in enumerate(pairs)]


def realistic(seed: int, prompts: int, answers: int, media: bool) -> list[TrainingSequence]:
    chance = random.Random(seed)
    groups = []
    for _ in range(prompts):
        prompt = int(min(2048, max(32, chance.lognormvariate(5.2, 0.6))))
        prompt += chance.randint(256, 4096) if media and chance.random() < 0.5 else 0
        median = chance.lognormvariate(7.0, 0.5)
        groups.append(
            (prompt, [int(min(8192, max(8, median * chance.lognormvariate(0, 0.5)))) for _ in range(answers)])
        )
    return batch(groups)


def seconds(share: Sequence[TrainingSequence], cost: Cost, shared: bool) -> float:
    """Token by token: one that stands behind n others costs linear + quadratic * (2n + 1), as n² sums odd numbers."""
    spans: list[range] = []
    for prompt, members in groupby(share, key=lambda one: one.prompt_ids):
        answers = [len(one.response_ids) for one in members]
        spans += [range(len(prompt))] * (1 if shared else len(answers))
        spans += [range(len(prompt), len(prompt) + answer) for answer in answers]
    return sum(cost.linear + cost.quadratic * (2 * before + 1) for span in spans for before in span)


def last(shares: Sequence[Share], speeds: Sequence[float], cost: Cost, shared: bool) -> float:
    return max(seconds(share, cost, shared) / speed for share, speed in zip(shares, speeds, strict=True))


batches = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(1, 40), min_size=1, max_size=6)), min_size=0, max_size=8
).map(batch)
costs = st.builds(Cost, st.just(1.0), st.sampled_from([0.0, 0.01, 1.0]))


@st.composite
def worlds(draw: st.DrawFn, most: int = 9) -> list[float]:
    """The speeds of some ranks."""
    return draw(st.lists(st.sampled_from([0.25, 0.7, 1.0, 1.0, 1.3, 5.0]), min_size=1, max_size=most))


@given(batches, worlds(), costs, st.booleans())
def test_every_sequence_is_in_exactly_one_share_and_shares_keep_the_order(sequences, speeds, cost, shared) -> None:
    shares = partition(sequences, len(speeds), cost=cost, shared_prompts=shared, speeds=speeds)
    assert len(shares) == len(speeds)
    places = [[one.place for one in share] for share in shares]
    assert all(share == sorted(share) for share in places)
    assert sorted(place for share in places for place in share) == list(range(len(sequences)))


@given(batches, worlds(), st.booleans())
def test_ranks_that_hold_copies_find_the_same_shares(sequences, speeds, shared) -> None:
    copies = pickle.loads(pickle.dumps(sequences))
    first, second = (partition(held, len(speeds), shared_prompts=shared, speeds=speeds) for held in (sequences, copies))
    assert [[one.place for one in share] for share in first] == [[one.place for one in share] for share in second]


@given(batches, st.booleans())
def test_a_single_rank_takes_everything_as_it_came(sequences, shared: bool) -> None:
    assert partition(sequences, 1, shared_prompts=shared) == [sequences]


@given(batches, costs, st.booleans())
def test_work_is_the_sum_over_the_tokens_that_are_computed(sequences, cost: Cost, shared: bool) -> None:
    assert work(sequences, cost, shared) == pytest.approx(seconds(sequences, cost, shared), rel=1e-12)


@given(batches, worlds(), costs, st.booleans())
def test_it_is_never_later_than_contiguous_shares_nor_before_the_lower_bound(sequences, speeds, cost, shared) -> None:
    shares = partition(sequences, len(speeds), cost=cost, shared_prompts=shared, speeds=speeds)
    size = len(sequences) / len(speeds)
    naive = [sequences[int(rank * size + 1e-9) : int((rank + 1) * size + 1e-9)] for rank in range(len(speeds))]
    assert naive == contiguous(sequences, len(speeds))
    done = last(shares, speeds, cost, shared)
    assert done <= last(naive, speeds, cost, shared) * (1 + 1e-12)
    assert done == pytest.approx(makespan(shares, speeds, cost, shared), rel=1e-12)
    if sequences:
        assert done >= lower_bound(sequences, speeds, cost, shared) * (1 - 1e-12)


def earliest(sequences: Share, speeds: Sequence[float], cost: Cost, shared: bool) -> float:
    """By trying every assignment."""
    done = []
    for ranks in product(range(len(speeds)), repeat=len(sequences)):
        shares = [[one for one, mine in zip(sequences, ranks, strict=True) if mine == r] for r in range(len(speeds))]
        done.append(makespan(shares, speeds, cost, shared))
    return min(done)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.integers(2, 3))
def test_without_sharing_it_is_at_most_four_thirds_of_the_earliest_time(lengths: list[int], world_size: int) -> None:
    sequences, cost, speeds = batch([(1, [length]) for length in lengths]), Cost(1.0, 0.0), [1.0] * world_size
    optimum = earliest(sequences, speeds, cost, shared=False)
    shares = partition(sequences, world_size, cost=cost, shared_prompts=False)
    assert last(shares, speeds, cost, shared=False) <= (4 / 3 + 1e-3) * optimum


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=3)), min_size=1, max_size=2),
    worlds(most=2),
    st.booleans(),
)
def test_no_assignment_is_before_the_lower_bound(groups, speeds: list[float], shared: bool) -> None:
    sequences, cost = batch(groups), Cost(1.0, 0.1)
    optimum = earliest(sequences, speeds, cost, shared)
    assert lower_bound(sequences, speeds, cost, shared) <= optimum * (1 + 1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("media", [False, True])
@pytest.mark.parametrize("world_size", [8, 64])
def test_realistic_lengths_are_done_within_a_twentieth_of_the_lower_bound(world_size, media, shared) -> None:
    sequences = realistic(world_size, prompts=2 * world_size, answers=16, media=media)
    speeds, cost = [1.0] * world_size, Cost()
    bound = lower_bound(sequences, speeds, cost, shared)
    shares = partition(sequences, world_size, cost=cost, shared_prompts=shared)
    assert makespan(shares, speeds, cost, shared) < 1.05 * bound
    assert makespan(contiguous(sequences, world_size), speeds, cost, shared) > 1.2 * bound, "else nothing is shown"


def test_slow_ranks_get_less_so_that_all_are_done_together() -> None:
    sequences, speeds, cost = realistic(3, 64, 8, media=True), [1.0, 0.5, 2.0, 1.0, 0.25, 1.0, 1.0, 0.75], Cost()
    shares = partition(sequences, len(speeds), cost=cost, speeds=speeds)
    total = sum(seconds(share, cost, True) for share in shares)
    for share, speed in zip(shares, speeds, strict=True):
        assert seconds(share, cost, True) / total == pytest.approx(speed / sum(speeds), rel=0.03)


def test_the_longest_sequence_goes_where_it_is_done_first() -> None:
    shares = partition(batch([(1, [100]), (1, [10])]), 2, speeds=[1.0, 10.0])
    assert [[one.place for one in share] for share in shares] == [[1], [0]]


@pytest.mark.parametrize(
    "speeds", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [1.0] * 3]
)
def test_speeds_that_are_not_one_positive_number_a_rank_are_refused(speeds: list[float]) -> None:
    with pytest.raises(ValueError, match="2 positive numbers"):
        partition(batch([(1, [1])]), 2, speeds=speeds)


def groups_of(shares: Sequence[Share]) -> list[set[int]]:
    return [{one.prompt_ids[0] for one in share} for share in shares]


def test_groups_with_dear_prompts_stay_whole_where_that_is_balanced() -> None:
    shares = partition(batch([(500, [20 + i, 30, 40, 50 - i]) for i in range(8)]), 4)
    assert sorted(len(groups) for groups in groups_of(shares)) == [2, 2, 2, 2]
    assert len(set.union(*groups_of(shares))) == 8


def test_a_group_too_large_for_one_rank_is_split() -> None:
    assert [len(share) for share in partition(batch([(10, [100] * 8)]), 4)] == [2, 2, 2, 2]


def test_one_large_group_is_split_rather_than_many_small_ones() -> None:
    cost = Cost(1.0, 0.0)
    shares = partition(batch([(10, [100] * 12), (200, [50] * 4), (200, [50] * 4)]), 2, cost=cost)
    assert [sum(group in groups for groups in groups_of(shares)) for group in (1, 2)] == [1, 1]
    assert last(shares, [1.0, 1.0], cost, True) <= 1.06 * (1210 + 400 + 400) / 2


def test_attention_makes_one_long_sequence_dearer_than_short_ones_of_as_many_tokens() -> None:
    sequences = batch([(1, [1000]), *[(1, [100])] * 15])
    flat, steep = (partition(sequences, 2, cost=Cost(1.0, quadratic)) for quadratic in (0.0, 0.001))
    assert sorted(map(len, flat)) == [4, 12]
    assert sorted(map(len, steep)) == [1, 15]


def test_with_fewer_sequences_than_ranks_each_stands_alone_and_some_ranks_are_free() -> None:
    assert sorted(map(len, partition(batch([(2, [9, 8, 7])]), 5))) == [0, 0, 1, 1, 1]
    assert partition([], 3) == [[], [], []]


@given(st.integers(0, 5000), st.integers(0, 5000), costs)
def test_tokens_cost_as_much_in_two_parts_as_at_once(prompt: int, answer: int, cost: Cost) -> None:
    assert cost.of(prompt) + cost.of(answer, prompt) == pytest.approx(cost.of(prompt + answer))


def test_the_cost_of_a_shape_is_half_its_floating_point_operations() -> None:
    hidden, layers, context = 2048, 24, 777
    parameters = 12 * layers * hidden**2
    kaplan = context * (2 * parameters + 2 * layers * context * hidden)
    assert 2 * Cost.of_shape(hidden, layers).of(context) == pytest.approx(kaplan)
    assert Cost.of_shape(hidden, layers, 5 * parameters).linear == 5 * parameters
    default = Cost.of_shape(4096, 32)
    assert default.quadratic / default.linear == pytest.approx(Cost().quadratic / Cost().linear)


@pytest.mark.parametrize(("shared", "expected"), [(True, [3, 5]), (False, [4, 4])])
def test_optimiser_steps_deal_by_whether_prompts_are_shared(shared: bool, expected: list[int]) -> None:
    sequences = batch([(100, [1] * 3), (100, [1] * 5)])
    for one in sequences:
        one.advantages += 1
    sizes = BatchSizes(None, 100, 10**6, 32, shared_prompts=shared)
    (step,) = optimiser_steps(sequences, 8, ALGORITHMS["grpo"], sizes, world_size=2)
    assert sorted(sum(map(len, rank)) for rank in step) == expected


def test_what_a_tower_computes_for_a_prompt_is_dealt_with_it() -> None:
    """Three prompts of text cost as much as one of a picture, whose 10 tokens the tower has to make."""
    ids, nothing = [(7,) * 10, (1,) * 10, (2,) * 10, (3,) * 10], torch.zeros(0)
    sequences = [TrainingSequence(each, [1], [True], 0.0, nothing, nothing, place=n) for n, each in enumerate(ids)]

    def sizes(cost: Cost) -> list[int]:
        return sorted(len(share) for share in partition(sequences, 2, cost=cost))

    assert sizes(Cost(1.0, 0.0)) == [2, 2]
    assert sizes(Cost(1.0, 0.0, ((7, 2.0),))) == [1, 3]
    assert work(sequences, Cost(1.0, 0.0, ((7, 2.0),)), True) == 4 * 11 + 10 * 2.0

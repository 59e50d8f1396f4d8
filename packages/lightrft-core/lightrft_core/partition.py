"""Which rank learns from which sequences, so that the slowest is done as early as possible."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise
from math import isfinite

from lightrft_core.batching import TrainingSequence

PRECISION = 1e-3
"""The goal is searched for in steps of this share of the lower bound."""


@dataclass(frozen=True)
class Cost:
    """What a pass over tokens costs: linear for each token, and quadratic for each squared one (causal attention).

    Only their ratio matters to a partition. The default is a dense model of hidden size 4096: linear work of
    12 * layers * hidden_size**2 a token.

    media: (token id, what a tower computes for the embedding that stands there), beside the token's own cost.
    """

    linear: float = 1.0
    quadratic: float = 1 / (12 * 4096)
    media: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of_shape(cls, hidden_size: int, layers: int, parameters: int | None = None) -> Cost:
        """In multiply-adds of a forward pass (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

        hidden_size: heads * head size. parameters: those used for one token (of a mixture's experts only the chosen
        ones); None: 12 * layers * hidden_size**2.
        """
        return cls(float(parameters or 12 * layers * hidden_size**2), float(layers * hidden_size))

    def of(self, tokens: int, context: int = 0) -> float:
        """Of tokens that attend to each other and to what stands before them, which is computed elsewhere."""
        return tokens * (self.linear + self.quadratic * (tokens + 2 * context))

    def of_prompt(self, ids: Sequence[int]) -> float:
        """Of a prompt and of what its media are for the towers."""
        return self.of(len(ids)) + sum(ids.count(token) * each for token, each in self.media)


def partition(
    sequences: Sequence[TrainingSequence],
    world_size: int,
    *,
    cost: Cost = Cost(),
    shared_prompts: bool = True,
    speeds: Sequence[float] | None = None,
) -> list[list[TrainingSequence]]:
    """One share for each rank, in the order of the input; a pure function, so that all ranks find the same.

    shared_prompts: whether a prompt costs once for all its answers on a rank. Such a group, whose answers stand side by
    side, is dealt whole where it fits, and is otherwise split, its prompt paid for once a piece.
    speeds: of the ranks, relative to each other (`work` done in a second); None: all are equal.

    MULTIFIT (Coffman, Garey, Johnson 1978, doi 10.1137/0207001): the earliest time is searched for by which everything
    is done when pieces are dealt in order of their size, each to the rank with the least time left that still suffices.
    Never later than contiguous shares of equally many sequences; without shared prompts and on equal ranks at most 4/3
    of the earliest time there is, plus the precision. Raises ValueError for speeds that are not positive numbers, one
    for each rank.
    """
    rates = [1.0] * world_size if speeds is None else list(speeds)
    if len(rates) != world_size or not all(isfinite(rate) and rate > 0 for rate in rates):
        raise ValueError(f"speeds must be {world_size} positive numbers, one for each rank, not {speeds}")
    naive = contiguous(sequences, world_size)
    if world_size == 1 or not sequences:
        return naive
    places = _deal(_groups(sequences, cost, shared_prompts), rates)
    balanced = [[sequences[place] for place in sorted(share)] for share in places]
    return min(balanced, naive, key=lambda shares: makespan(shares, rates, cost, shared_prompts))


def partition_whole(costs: Sequence[float], world_size: int, speeds: Sequence[float] | None = None) -> list[list[int]]:
    """Of pieces of such costs that cannot be split, the places of each rank's, ascending: as `partition` does."""
    rates = [1.0] * world_size if speeds is None else list(speeds)
    if world_size == 1 or not costs:
        return [[*range(len(costs))], *([] for _ in range(world_size - 1))]
    return [sorted(share) for share in _deal([_group(0.0, [(cost, place)]) for place, cost in enumerate(costs)], rates)]


def contiguous(sequences: Sequence[TrainingSequence], world_size: int) -> list[list[TrainingSequence]]:
    """Shares of equally many sequences in the order of the input, whatever they cost."""
    borders = [len(sequences) * rank // world_size for rank in range(world_size + 1)]
    return [list(sequences[start:end]) for start, end in pairwise(borders)]


def makespan(
    shares: Sequence[Sequence[TrainingSequence]], speeds: Sequence[float], cost: Cost, shared_prompts: bool
) -> float:
    """When the last rank is done."""
    return max(work(share, cost, shared_prompts) / speed for share, speed in zip(shares, speeds, strict=True))


def work(share: Sequence[TrainingSequence], cost: Cost, shared_prompts: bool) -> float:
    """What a rank's sequences cost together; by the seconds they took it is the rank's speed."""
    return sum(group.size for group in _groups(share, cost, shared_prompts))


def lower_bound(
    sequences: Sequence[TrainingSequence], speeds: Sequence[float], cost: Cost, shared_prompts: bool
) -> float:
    """When any partition is done at the earliest: all work evenly spread, or the largest sequence on the fastest rank.

    Raises ValueError without sequences.
    """
    return _bound(_groups(sequences, cost, shared_prompts), speeds)


@dataclass(frozen=True)
class _Group:
    """Sequences that pay for their prompt once together: its cost, and (cost, place) of each answer, largest first."""

    prompt: float
    answers: list[tuple[float, int]]
    size: float


def _group(prompt: float, answers: list[tuple[float, int]]) -> _Group:
    return _Group(prompt, answers, prompt + sum(cost for cost, _ in answers))


def _groups(sequences: Sequence[TrainingSequence], cost: Cost, shared_prompts: bool) -> list[_Group]:
    groups: list[_Group] = []
    for (prompt_ids, _), members in groupby(enumerate(sequences), key=lambda pair: pair[1].prompt):
        length = len(prompt_ids)
        prompt = cost.of_prompt(prompt_ids)
        answers = [(cost.of(len(sequence.response_ids), length), place) for place, sequence in members]
        if shared_prompts:
            groups.append(_group(prompt, sorted(answers, reverse=True)))
        else:
            groups += [_group(0.0, [(prompt + answer, place)]) for answer, place in answers]
    return groups


def _bound(groups: Sequence[_Group], speeds: Sequence[float]) -> float:
    total = sum(group.size for group in groups) / sum(speeds)
    largest = max(group.prompt + group.answers[0][0] for group in groups) / max(speeds)
    return max(total, largest)


def _deal(groups: Sequence[_Group], speeds: Sequence[float]) -> list[list[int]]:
    """The places of each rank's sequences, by the earliest goal that is found to be met."""
    bound = _bound(groups, speeds)
    missed, met = 0.0, PRECISION
    while (dealt := _fill(groups, [(1 + met) * bound * speed for speed in speeds])) is None:
        missed, met = met, 2 * met
    while met - missed > PRECISION:
        middle = (missed + met) / 2
        attempt = _fill(groups, [(1 + middle) * bound * speed for speed in speeds])
        if attempt is None:
            missed = middle
        else:
            dealt, met = attempt, middle
    return dealt


def _fill(groups: Sequence[_Group], capacities: Sequence[float]) -> list[list[int]] | None:
    """Deal groups to ranks of limited capacity, those that are large or dear to split first; None if they do not fit.

    A group goes where the least is left that suffices. One that fits nowhere leaves what it can where most is left, and
    goes on with the rest of its answers.
    """
    room = sorted((capacity, rank) for rank, capacity in enumerate(capacities))
    shares: list[list[int]] = [[] for _ in capacities]
    queue = [(-group.size - group.prompt, number, group) for number, group in enumerate(groups)]
    heapify(queue)
    while queue:
        _, number, group = heappop(queue)
        left, rank = room.pop(min(bisect_left(room, (group.size,)), len(room) - 1))
        left -= group.prompt
        rest = []
        for cost, place in group.answers:
            if cost <= left:
                left -= cost
                shares[rank].append(place)
            else:
                rest.append((cost, place))
        if len(rest) == len(group.answers):
            return None
        insort(room, (left, rank))
        if rest:
            remainder = _group(group.prompt, rest)
            heappush(queue, (-remainder.size - remainder.prompt, number, remainder))
    return shares

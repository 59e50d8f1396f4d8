"""From contests to the tensors of micro-batches: a contest whole in one of them, the work dealt evenly over ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from math import nan
from typing import Any

import torch
from torch import Tensor

from lightrft_core import Batch, BatchSizes, Paces, Ranks, TrainingSequence, collate
from lightrft_core.partition import partition_whole, work
from lightrft_rewards.models.passage import Contest, Passage


@dataclass(kw_only=True)
class ContestBatch(Batch):
    """A Batch whose prompts are whole passages, and whose answers are one token that is not read.

    passage: [scored] whose row each score is of, as prompt_index counts. contest: [scored] its contest's number.
    places: [scored] the token that is scored, counted from its passage's first; None: passages are scored as a whole.
    labels: [scored, heads] in float64; NaN: none.
    contest_weights: [contests, heads] in the step's loss; 0 where there is nothing to learn.
    """

    passage: Tensor
    contest: Tensor
    labels: Tensor
    contest_weights: Tensor
    places: Tensor | None = None

    def to(self, device: torch.device) -> ContestBatch:
        """The same with its tensors on a device."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in columns.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def contest_batches(
    contests: Sequence[Contest],
    ranks: Ranks,
    sizes: BatchSizes,
    paces: Paces | None = None,
    *,
    heads: Sequence[str],
    teaches: Callable[[Sequence[float]], bool],
) -> list[ContestBatch]:
    """This rank's micro-batches of one step over the contests of all ranks, equally many on each rank.

    Each head's loss is the mean over the step's contests that teach it something, and the step's loss the mean over
    heads. sizes.micro_train_batch_size: most contests in a micro-batch; a contest with more tokens than fit is alone.
    teaches: whether a loss learns anything from labels of these answers.
    Raises ValueError, naming the contest, for labels that are not as many as what is scored, or not for the loss.
    """
    weights = _weights(contests, heads, teaches)
    sequences = [[_sequence(passage) for passage in contest.passages] for contest in contests]
    costs = [work(part, sizes.cost, False) for part in sequences]
    speeds = paces.speeds(ranks.learners) if paces is not None else None
    shares = [_micro_batches(contests, share, sizes) for share in partition_whole(costs, ranks.learners, speeds)]
    most, read = max(map(len, shares)), max(1, sum(contest.counts["tokens"] for contest in contests))
    mine = shares[ranks.learner] + [[]] * (most - len(shares[ranks.learner]))
    by_steps = any(passage.steps for contest in contests for passage in contest.passages)
    batches = []
    for places in mine:
        chosen = [contests[place] for place in places]
        batch = collate_contests(chosen, heads, [weights[place] for place in places], by_steps=by_steps)
        batch.work = sum(costs[place] for place in places)
        batch.share = sum(contest.counts["tokens"] for contest in chosen) / read
        batches.append(batch)
    return batches


def collate_contests(
    contests: Sequence[Contest],
    heads: Sequence[str],
    weights: Sequence[Sequence[float]] | None = None,
    *,
    by_steps: bool = False,
) -> ContestBatch:
    """Contests as tensors. None of them make a batch that can be computed and in which nothing has a label.

    weights: of each contest, of each head; None: 1. by_steps: score each passage's steps.
    """
    passages = [passage for contest in contests for passage in contest.passages] or [Passage((0,), steps=(0,))]
    owners = [number for number, contest in enumerate(contests) for _ in contest.passages] or [0]
    scored = [(row, place) for row, passage in enumerate(passages) for place in (passage.steps if by_steps else (-1,))]
    columns = [[*chain.from_iterable(_labels(contest, head, by_steps) for contest in contests)] for head in heads]
    batch = collate([_sequence(passage) for passage in passages])
    plain = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return ContestBatch(
        **plain,
        passage=torch.tensor([row for row, _ in scored]),
        contest=torch.tensor([owners[row] for row, _ in scored]),
        places=torch.tensor([place for _, place in scored]) if by_steps else None,
        labels=torch.tensor([column or [nan] for column in columns], dtype=torch.float64).T.contiguous(),
        contest_weights=torch.tensor(weights or [[1.0] * len(heads)] * max(1, len(contests)), dtype=torch.float64),
    )


def _sequence(passage: Passage) -> TrainingSequence:
    """As core's batches count and pad it: a prompt, and an answer of one token that nobody reads."""
    nothing = torch.zeros(1)
    return TrainingSequence(passage.token_ids, [0], [True], 0.0, nothing, nothing, media=passage.media)


def _labels(contest: Contest, head: str, by_steps: bool) -> Sequence[float]:
    scored = sum(len(passage.steps) if by_steps else 1 for passage in contest.passages)
    labels = contest.labels.get(head)
    if labels is None:
        return [nan] * scored
    if len(labels) != scored:
        what = "steps" if by_steps else "answers"
        raise ValueError(f"{contest.uid}: {len(labels)} labels of {head} for {scored} {what}")
    return labels


def _weights(
    contests: Sequence[Contest], heads: Sequence[str], teaches: Callable[[Sequence[float]], bool]
) -> list[list[float]]:
    """Of each contest, of each head."""

    def learnt(contest: Contest, head: str) -> bool:
        try:
            return head in contest.labels and teaches(contest.labels[head])
        except ValueError as error:
            raise ValueError(f"{contest.uid}: {error}") from error

    taught = [[learnt(contest, head) for head in heads] for contest in contests]
    counts = [max(1, sum(column)) for column in zip(*taught, strict=True)]
    return [[known / (count * len(heads)) for known, count in zip(row, counts, strict=True)] for row in taught]


def _micro_batches(contests: Sequence[Contest], share: Sequence[int], sizes: BatchSizes) -> list[list[int]]:
    """A rank's contests, those with long passages first, cut where the next one would not fit any more."""

    def longest(place: int) -> int:
        return max(len(passage.token_ids) for passage in contests[place].passages)

    parts: list[list[int]] = []
    width = rows = 0
    for place in sorted(share, key=longest, reverse=True):
        more = len(contests[place].passages)
        fits = (rows + more) * width <= sizes.max_tokens_per_micro_batch
        if parts and fits and len(parts[-1]) < sizes.micro_train_batch_size:
            parts[-1].append(place)
            rows += more
        else:
            parts.append([place])
            width, rows = longest(place), more
    return parts

"""From judged groups to optimiser steps: which sequences each step sees, with what weight, in which micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import torch

from lightrft_core.aggregation import Aggregation, StepTotals, token_weight
from lightrft_core.algorithm import Algorithm
from lightrft_core.batching import Batch, TrainingSequence, collate, micro_batches, padded_tokens, read_tokens
from lightrft_core.filters import RolloutFilter
from lightrft_core.partition import Cost, partition, work
from lightrft_core.types import Group, Rollout

MicroBatch = list[TrainingSequence]


@dataclass(frozen=True)
class BatchSizes:
    """train_batch_size: samples per optimiser step, on all ranks together; None: all of a step's rollouts in one.

    micro_train_batch_size: most sequences in a micro-batch; max_tokens_per_micro_batch: most tokens, padding included.
    max_new_tokens: the generation budget, the denominator of the constant-length aggregation.
    max_epochs: passes over each batch of rollouts.
    shared_prompts: whether a prompt is computed once for all its answers of a micro-batch.
    packing: whether no padding is computed.
    cost: what the model's passes cost, by which work is dealt evenly.
    """

    train_batch_size: int | None
    micro_train_batch_size: int
    max_tokens_per_micro_batch: int
    max_new_tokens: int
    max_epochs: int = 1
    shared_prompts: bool = True
    packing: bool = False
    cost: Cost = field(default_factory=Cost)


def training_sequences(groups: Sequence[Group], chosen: RolloutFilter) -> list[tuple[Rollout, TrainingSequence]]:
    """The rollouts that are learnt from, each with its sequence, in their order in the batch."""
    pairs: list[tuple[Rollout, TrainingSequence]] = []
    start = 0
    for group in groups:
        pairs += [(group.rollouts[i], _sequence(start + i, group, group.rollouts[i])) for i in chosen.select(group)]
        start += len(group.rollouts)
    return pairs


def _sequence(place: int, group: Group, rollout: Rollout) -> TrainingSequence:
    logprobs = [logprob for logprob, kept in zip(rollout.logprobs, rollout.loss_mask, strict=True) if kept]
    return TrainingSequence(
        place=place,
        prompt_ids=group.prompt.token_ids,
        media=group.prompt.media,
        response_ids=rollout.token_ids,
        loss_mask=rollout.loss_mask,
        weight=0.0,
        rollout_logprobs=torch.tensor(logprobs, dtype=torch.float64),
        advantages=torch.zeros(len(logprobs), dtype=torch.float64),
    )


def optimiser_steps(
    sequences: Sequence[TrainingSequence],
    rollouts: int,
    algorithm: Algorithm,
    sizes: BatchSizes,
    world_size: int = 1,
    speeds: Sequence[float] | None = None,
) -> list[list[list[MicroBatch]]]:
    """Of each optimiser step over a batch of so many rollouts, in order, the micro-batches of every rank.

    Every sequence counts in its step's denominator; one without signal is then left out of the forward pass if the
    algorithm would learn nothing from it. All ranks have equally many micro-batches in a step, so that none waits for
    another in vain: one that has fewer gets empty ones. A whole step may end up with none. Packed, a rank's
    micro-batches cost about the same: ranks that hold shards together go through them side by side.
    speeds: of the ranks, relative to each other; None: all are equal.
    """
    size = sizes.train_batch_size or max(1, rollouts)
    steps: list[list[list[MicroBatch]]] = []
    for start in range(0, max(1, rollouts), size):
        part = [sequence for sequence in sequences if start <= sequence.place < start + size]
        weigh(part, algorithm.aggregation, sizes.max_new_tokens)
        learnt_from = [s for s in part if algorithm.learns_without_signal or s.advantages.any()]
        steps.append(deal(learnt_from, sizes, world_size, speeds))
    return steps


def weigh(sequences: Sequence[TrainingSequence], aggregation: Aggregation, max_new_tokens: int) -> None:
    """Set the weight of each sequence of one optimiser step."""
    totals = StepTotals(float(len(sequences)), float(sum(len(sequence.advantages) for sequence in sequences)))
    for sequence in sequences:
        sequence.weight = token_weight(aggregation, len(sequence.advantages), totals, max_new_tokens)


def deal(
    sequences: Sequence[TrainingSequence],
    sizes: BatchSizes,
    world_size: int = 1,
    speeds: Sequence[float] | None = None,
) -> list[list[MicroBatch]]:
    """One optimiser step's micro-batches of every rank, equally many on each; sets each sequence's share."""
    read = max(1, sum(map(read_tokens, sequences)))
    for sequence in sequences:
        sequence.share = read_tokens(sequence) / read
    dealt = partition(sequences, world_size, cost=sizes.cost, shared_prompts=sizes.shared_prompts, speeds=speeds)
    shares = [_micro_batches(share, sizes) for share in dealt]
    most = max(map(len, shares))
    if sizes.packing and world_size > 1 and most > 1:
        shares = [_evened(share, most, sizes) for share in shares]
    return [share + [[]] * (most - len(share)) for share in shares]


def ready(micro_batch: MicroBatch, sizes: BatchSizes) -> Batch:
    """A micro-batch as tensors, which knows its work."""
    return replace(collate(micro_batch), work=work(micro_batch, sizes.cost, sizes.shared_prompts))


def _evened(share: list[MicroBatch], count: int, sizes: BatchSizes) -> list[MicroBatch]:
    """A rank's sequences in so many micro-batches of like cost, largest first, if these fit; else as they are."""
    shared, cost = sizes.shared_prompts, sizes.cost
    sequences = sorted((sequence for part in share for sequence in part), key=lambda sequence: sequence.place)
    parts = [part for part in partition(sequences, count, cost=cost, shared_prompts=shared) if part]
    for part in parts:
        tokens = padded_tokens(part, shared=shared, packing=True)
        if tokens > sizes.max_tokens_per_micro_batch or len(part) > sizes.micro_train_batch_size:
            return share
    return sorted(parts, key=lambda part: -work(part, cost, shared))


def _micro_batches(sequences: Sequence[TrainingSequence], sizes: BatchSizes) -> list[MicroBatch]:
    return micro_batches(
        sequences,
        token_budget=sizes.max_tokens_per_micro_batch,
        max_sequences=sizes.micro_train_batch_size,
        shared_prompts=sizes.shared_prompts,
        packing=sizes.packing,
    )


def select_high_entropy_tokens(sequences: Sequence[TrainingSequence], share: float) -> None:
    """Let only the most uncertain tokens carry the objective: ceil(share * tokens) of all sequences together.

    By the entropy of the policy that sampled (Wang et al. 2025, arXiv 2506.01939, eq. 5). Tokens of equal entropy at
    the border are all selected.
    """
    scored = [(sequence, s.double()) for sequence in sequences if (s := sequence.old_entropy) is not None]
    if not scored:
        return
    together = torch.cat([entropy for _, entropy in scored])
    wanted = ceil(share * together.numel() - 1e-9)
    border = together.topk(wanted).values[-1]
    for sequence, entropy in scored:
        sequence.selected = entropy >= border

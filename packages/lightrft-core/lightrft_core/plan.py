"""From judged groups to optimiser steps: which sequences each step sees, with what weight, in which micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from lightrft_core.advantages import AllSum
from lightrft_core.aggregation import StepTotals, token_weight
from lightrft_core.algorithm import Algorithm
from lightrft_core.batching import TrainingSequence, micro_batches
from lightrft_core.filters import RolloutFilter
from lightrft_core.types import Group, Rollout

MicroBatch = list[TrainingSequence]


@dataclass(frozen=True)
class BatchSizes:
    """train_batch_size: samples per optimiser step on this rank; None: all of a step's rollouts in one.

    micro_train_batch_size: most sequences in a micro-batch; max_tokens_per_micro_batch: most tokens, padding included.
    max_new_tokens: the generation budget, the denominator of the constant-length aggregation.
    max_epochs: passes over each batch of rollouts.
    shared_prompts: whether a prompt is computed once for all its answers of a micro-batch.
    """

    train_batch_size: int | None
    micro_train_batch_size: int
    max_tokens_per_micro_batch: int
    max_new_tokens: int
    max_epochs: int = 1
    shared_prompts: bool = True


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
        response_ids=rollout.token_ids,
        loss_mask=rollout.loss_mask,
        weight=0.0,
        rollout_logprobs=torch.tensor(logprobs, dtype=torch.float64),
        advantages=torch.zeros(len(logprobs), dtype=torch.float64),
    )


def optimiser_steps(
    sequences: Sequence[TrainingSequence], rollouts: int, algorithm: Algorithm, sizes: BatchSizes, all_sum: AllSum
) -> list[list[MicroBatch]]:
    """The micro-batches of each optimiser step over a batch of so many rollouts, in order.

    Every sequence counts in its step's denominator, on all ranks; one without signal is then left out of the forward
    pass if the algorithm would learn nothing from it. A step may end up with no micro-batch at all, and a rank that has
    no rollouts left takes such steps until the last rank is done.
    """
    size = sizes.train_batch_size or max(1, rollouts)
    steps: list[list[MicroBatch]] = []
    further = 1.0
    while further:
        start, end = len(steps) * size, (len(steps) + 1) * size
        part = [sequence for sequence in sequences if start <= sequence.place < end]
        tokens = sum(len(sequence.advantages) for sequence in part)
        *numbers, further = all_sum([float(len(part)), float(tokens), float(end < rollouts)])
        for sequence in part:
            length = len(sequence.advantages)
            sequence.weight = token_weight(algorithm.aggregation, length, StepTotals(*numbers), sizes.max_new_tokens)
        steps.append(
            micro_batches(
                [s for s in part if algorithm.learns_without_signal or s.advantages.any()],
                token_budget=sizes.max_tokens_per_micro_batch,
                max_sequences=sizes.micro_train_batch_size,
                shared_prompts=sizes.shared_prompts,
            )
        )
    return steps


def select_high_entropy_tokens(sequences: Sequence[TrainingSequence], share: float, all_sum: AllSum) -> None:
    """Let only the most uncertain tokens carry the objective: ceil(share * tokens) of all sequences and ranks together.

    By the entropy of the policy that sampled (Wang et al. 2025, arXiv 2506.01939, eq. 5). Tokens of equal entropy at
    the border are all selected.
    """
    scored = [(sequence, _ordered_bits(s)) for sequence in sequences if (s := sequence.old_entropy) is not None]
    together = torch.cat([bits for _, bits in scored]) if scored else torch.zeros(0, dtype=torch.int64)
    (count,) = all_sum([float(together.numel())])
    wanted = ceil(share * count - 1e-9)
    low, high = 0, 2**63 - 1
    while high - low > 1:
        middle = (low + high) // 2
        (reached,) = all_sum([float((together >= middle).sum())])
        low, high = (middle, high) if reached >= wanted else (low, middle)
    for sequence, bits in scored:
        sequence.selected = bits >= low


def _ordered_bits(entropy: Tensor) -> Tensor:
    """Integers in the order of these numbers, which are 0 or more: what doubles look like in memory."""
    return (entropy.double().clamp(min=0) + 0.0).view(torch.int64)

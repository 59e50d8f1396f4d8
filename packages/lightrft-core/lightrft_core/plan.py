"""From judged groups to optimiser steps: which sequences each step sees, with what weight, in which micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lightrft_core.aggregation import StepTotals, token_weight
from lightrft_core.algorithms import Algorithm
from lightrft_core.batching import Batch, TrainingSequence, collate, micro_batches
from lightrft_core.rollout_metrics import verdict
from lightrft_core.types import Group, Rollout

AllSum = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True)
class BatchSizes:
    """train_batch_size: samples per optimiser step on this rank; None: all of a step's rollouts in one.

    micro_train_batch_size: most sequences in a micro-batch; max_tokens_per_micro_batch: most tokens, padding included.
    max_new_tokens: the generation budget, the denominator of the constant-length aggregation.
    """

    train_batch_size: int | None
    micro_train_batch_size: int
    max_tokens_per_micro_batch: int
    max_new_tokens: int


def estimate_advantages(groups: Sequence[Group], algorithm: Algorithm) -> None:
    """Set every rollout's advantage from its group's verdicts; 0 where judging failed."""
    if not groups:
        return
    verdicts = [[verdict(rollout) for rollout in group.rollouts] for group in groups]
    rewards = torch.tensor([[v.score or 0.0 for v in row] for row in verdicts], dtype=torch.float64)
    valid = torch.tensor([[v.score is not None for v in row] for row in verdicts])
    for group, row in zip(groups, algorithm.advantages(rewards, valid).tolist(), strict=True):
        for rollout, advantage in zip(group.rollouts, row, strict=True):
            rollout.advantage = advantage


def optimiser_steps(
    groups: Sequence[Group], algorithm: Algorithm, sizes: BatchSizes, all_sum: AllSum
) -> list[list[Batch]]:
    """The micro-batches of each optimiser step over these groups, in order.

    Every judged rollout counts in its step's denominator, on all ranks; one without signal is then left out of the
    forward pass if the algorithm would learn nothing from it. A step may end up with no micro-batch at all.
    """
    rollouts = [(group, rollout) for group in groups for rollout in group.rollouts]
    size = sizes.train_batch_size or max(1, len(rollouts))
    steps: list[list[Batch]] = []
    for start in range(0, max(1, len(rollouts)), size):
        part = rollouts[start : start + size]
        judged = [(group, r) for group, r in part if verdict(r).score is not None and any(r.loss_mask)]
        tokens = sum(sum(r.loss_mask) for _, r in judged)
        totals = StepTotals(*all_sum([float(len(judged)), float(tokens)]))
        learning = [(group, r) for group, r in judged if r.advantage != 0 or algorithm.learns_without_signal]
        sequences = [_training_sequence(group, r, algorithm, totals, sizes.max_new_tokens) for group, r in learning]
        plan = micro_batches(
            sequences, token_budget=sizes.max_tokens_per_micro_batch, max_sequences=sizes.micro_train_batch_size
        )
        steps.append([collate(part) for part in plan])
    return steps


def _training_sequence(
    group: Group, rollout: Rollout, algorithm: Algorithm, totals: StepTotals, max_new_tokens: int
) -> TrainingSequence:
    length = sum(rollout.loss_mask)
    logprobs = [logprob for logprob, kept in zip(rollout.logprobs, rollout.loss_mask, strict=True) if kept]
    return TrainingSequence(
        prompt_ids=group.prompt.token_ids,
        response_ids=rollout.token_ids,
        loss_mask=rollout.loss_mask,
        weight=token_weight(algorithm.aggregation, length, totals, max_new_tokens),
        advantages=torch.full((length,), rollout.advantage, dtype=torch.float32),
        rollout_logprobs=torch.tensor(logprobs, dtype=torch.float32),
    )

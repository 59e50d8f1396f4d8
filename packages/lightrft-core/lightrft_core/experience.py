"""From judged groups to batches that are ready for the loss: score, estimate advantages, cut into optimiser steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from lightrft_core.advantages import gae, returns_to_go, whiten
from lightrft_core.algorithm import Algorithm
from lightrft_core.batching import Batch, TrainingSequence, collate
from lightrft_core.credit import credit_advantages, loss_token
from lightrft_core.kl import KL_ESTIMATORS, KLPlacement
from lightrft_core.metrics import Metrics
from lightrft_core.pace import Paces
from lightrft_core.plan import (
    BatchSizes,
    MicroBatch,
    optimiser_steps,
    ready,
    select_high_entropy_tokens,
    training_sequences,
)
from lightrft_core.protocols import Strategy
from lightrft_core.types import Group, Learnt

COLUMNS = {
    "policy": {"old_logprobs": "logprobs", "old_entropy": "entropy"},
    "reference": {"reference_logprobs": "logprobs"},
    "teacher": {"teacher_logprobs": "logprobs"},
    "critic": {"old_values": "values"},
}
"""Which columns of a sequence each model fills, from which part of its output."""


def make_experience(
    groups: Sequence[Group],
    algorithm: Algorithm,
    strategy: Strategy,
    sizes: BatchSizes,
    paces: Paces | None = None,
) -> tuple[list[list[Batch]], Metrics]:
    """This rank's batches of each optimiser step over the groups of all ranks; sets every rollout's advantage.

    What models say of the answers is computed once, on the very micro-batches that are learnt from afterwards, so that
    the first step's ratios are exactly 1. All ranks have equally many batches in a step, none if no rank has anything
    to learn from. paces: by which the learners' shares are dealt; None: all are taken to be equally fast.
    """
    pairs = training_sequences(groups, algorithm.chosen)
    sequences, metrics = [sequence for _, sequence in pairs], Metrics()
    if not algorithm.estimates_from_models:
        estimate_advantages(groups, sequences, algorithm, metrics)
    rollouts = sum(len(group.rollouts) for group in groups)
    speeds = paces.speeds(strategy.learners) if paces is not None else None
    steps = optimiser_steps(sequences, rollouts, algorithm, sizes, strategy.learners, speeds)
    mine = [step[strategy.learner] for step in steps]
    for model in algorithm.models(off_policy=sizes.max_epochs * len(steps) > 1):
        _score(sequences, [*chain.from_iterable(mine)], model, strategy)
    if algorithm.estimates_from_models:
        estimate_advantages(groups, sequences, algorithm, metrics)
    if algorithm.high_entropy_share < 1:
        for step in steps:
            together = [*chain.from_iterable(chain.from_iterable(step))]
            select_high_entropy_tokens(together, algorithm.high_entropy_share)
    for rollout, sequence in pairs:
        rollout.advantage = float(sequence.advantages.mean())
        rollout.learnt = Learnt(sequence.advantages.float().numpy())
    return [[ready(micro_batch, sizes) for micro_batch in step] for step in mine], metrics


def note_tokens(groups: Sequence[Group], metrics: Metrics, strategy: Strategy, *, wanted: bool) -> None:
    """Write into the rollouts what the step's losses last said of their tokens, on all ranks, if that is wanted.

    The metrics have no numbers of tokens afterwards.
    """
    said, metrics.tokens = metrics.tokens, []
    if not wanted:
        return
    rollouts = [*chain.from_iterable(group.rollouts for group in groups)]
    for part in strategy.gather([numbers.on_host() for numbers in said]):
        for name, column in part.columns.items():
            rows = torch.split(column, part.lengths.tolist())
            for place, row in zip(part.places, rows, strict=True):
                learnt = rollouts[place].learnt
                assert learnt is not None
                setattr(learnt, name, row.numpy())


def _score(sequences: Sequence[TrainingSequence], mine: Sequence[MicroBatch], model: str, strategy: Strategy) -> None:
    """Fill a model's columns of all sequences; every rank asks it about its own, which ranks of a learner share."""
    outputs = strategy.forward(model, [collate(micro_batch) for micro_batch in mine])
    scored: list[tuple[int, dict[str, Tensor]]] = []
    for micro_batch, output in zip(mine, outputs, strict=True):
        lengths = [len(sequence.advantages) for sequence in micro_batch]
        parts = {name: getattr(output, part).double().cpu().split(lengths) for name, part in COLUMNS[model].items()}
        scored += [(s.place, {name: parts[name][i].clone() for name in parts}) for i, s in enumerate(micro_batch)]
    by_place = {sequence.place: sequence for sequence in sequences}
    for place, columns in strategy.gather(scored):
        for name, numbers in columns.items():
            setattr(by_place[place], name, numbers)


def estimate_advantages(
    groups: Sequence[Group],
    sequences: Sequence[TrainingSequence],
    algorithm: Algorithm,
    metrics: Metrics,
) -> None:
    """Set every sequence's advantages, and with a critic its returns, in float64.

    An answer's reward, less its baseline, arrives at its last token; what is credited to others, less a baseline of its
    own, at these; a divergence in the reward is paid token by token.
    """
    known = [[rollout.reward for rollout in group.rollouts] for group in groups]
    rewards = torch.tensor([[reward or 0.0 for reward in row] for row in known], dtype=torch.float64)
    valid = torch.tensor([[reward is not None for reward in row] for row in known], dtype=torch.bool)
    if not groups:
        rewards, valid = rewards.view(0, 1), valid.view(0, 1)
    if algorithm.kl_in_reward and algorithm.kl_placement is KLPlacement.SEQUENCE_REWARD:
        for sequence in sequences:
            rewards.view(-1)[sequence.place] -= _penalty(sequence, algorithm).sum()
    advantages = algorithm.estimator.baseline(rewards, valid).flatten()
    credited = credit_advantages(groups, algorithm.estimator.baseline)
    for sequence in sequences:
        token_rewards = torch.zeros_like(sequence.advantages)
        if algorithm.kl_in_reward and algorithm.kl_placement is KLPlacement.REWARD:
            token_rewards -= _penalty(sequence, algorithm)
        token_rewards[-1] += advantages[sequence.place]
        for token, advantage in credited.get(sequence.place, ()):
            token_rewards[loss_token(sequence.loss_mask, token)] += advantage
        if algorithm.estimator.critic:
            assert sequence.old_values is not None
            sequence.advantages, sequence.returns = gae(
                token_rewards, sequence.old_values, algorithm.gamma, algorithm.lambd
            )
        else:
            sequence.advantages = returns_to_go(token_rewards, algorithm.gamma)
    if algorithm.estimator.critic:
        metrics.mean("critic/explained_variance", explained_variance(sequences))
    if algorithm.estimator.whiten:
        whitened = whiten([sequence.advantages for sequence in sequences])
        for sequence, numbers in zip(sequences, whitened, strict=True):
            sequence.advantages = numbers
    if algorithm.advantage_clip:
        for sequence in sequences:
            sequence.advantages = sequence.advantages.clamp(-algorithm.advantage_clip, algorithm.advantage_clip)


def _penalty(sequence: TrainingSequence, algorithm: Algorithm) -> Tensor:
    """[tokens] what the divergence from the reference model costs."""
    assert sequence.old_logprobs is not None and sequence.reference_logprobs is not None
    estimate = KL_ESTIMATORS[algorithm.kl_estimator]
    return algorithm.kl_coef * estimate(sequence.old_logprobs, sequence.reference_logprobs)


def explained_variance(sequences: Sequence[TrainingSequence]) -> list[float]:
    """[1 - var(returns - values) / var(returns)] over all tokens; [] if the returns do not vary."""
    pairs = [(s.returns, s.old_values) for s in sequences if s.returns is not None and s.old_values is not None]
    if not pairs:
        return []
    returns = torch.cat([pair[0] for pair in pairs])
    errors = returns - torch.cat([pair[1] for pair in pairs])
    spread, unexplained = (float((part - part.mean()).square().sum()) for part in (returns, errors))
    return [1 - unexplained / spread] if spread > 1e-12 else []

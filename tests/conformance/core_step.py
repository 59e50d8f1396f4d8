"""One optimiser step of core on the input of a conformance check, in float64 from end to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import torch
from references.advantages import Advantages
from references.case import Answer, Case
from references.row import Gradient
from torch import Tensor

from lightrft_core import (
    Algorithm,
    Batch,
    BatchSizes,
    CriticOutput,
    FinishReason,
    Group,
    Metrics,
    PolicyOutput,
    Prompt,
    Rollout,
    TrainingSequence,
    Verdict,
    collate,
)
from lightrft_core.experience import estimate_advantages
from lightrft_core.plan import optimiser_steps, select_high_entropy_tokens, training_sequences

COLUMNS = {
    "policy": {"old_logprobs": "old_logprobs", "old_entropy": "entropy"},
    "reference": {"reference_logprobs": "reference_logprobs"},
    "critic": {"old_values": "old_values"},
}
"""Which columns of a sequence each model fills, and where a case holds them."""


@dataclass
class Learnt:
    """What core makes of a step; nested as in the references. metrics: those of the policy's loss."""

    advantages: Advantages
    loss: float
    gradient: Gradient
    metrics: Metrics
    forwarded: set[tuple[int, int]]
    returns: Advantages
    value_loss: float = 0.0
    value_gradient: Gradient | None = None


def learn(case: Case, algorithm: Algorithm, *, micro_batch: int = 10**6, on_policy: bool = False) -> Learnt:
    """The step's loss and its gradient by log-probability, added up over micro-batches of at most so many sequences.

    on_policy: nobody scored the answers before, so that the old log-probabilities are the policy's own.
    """
    groups, places = groups_of(case)
    sequences = [sequence for _, sequence in training_sequences(groups, algorithm.chosen)]
    for model in algorithm.models(off_policy=not on_policy):
        for sequence in sequences:
            for column, name in COLUMNS[model].items():
                setattr(sequence, column, numbers(getattr(places[sequence.place][2], name)))
    estimate_advantages(groups, sequences, algorithm, Metrics())
    rollouts = sum(len(group.rollouts) for group in groups)
    sizes = BatchSizes(None, micro_batch, 10**9, case.max_length)
    ((step,),) = optimiser_steps(sequences, rollouts, algorithm, sizes)
    if algorithm.high_entropy_share < 1:
        select_high_entropy_tokens([*chain.from_iterable(step)], algorithm.high_entropy_share)
    learnt = Learnt(_advantages(case), 0.0, _zeros(case), Metrics(), set(), _advantages(case), 0.0, _zeros(case))
    for sequence in sequences:
        g, i, _ = places[sequence.place]
        learnt.advantages[g][i] = sequence.advantages.tolist()
        learnt.returns[g][i] = None if sequence.returns is None else sequence.returns.tolist()
    for part in step:
        _add(part, algorithm, places, learnt)
    return learnt


def _add(
    part: list[TrainingSequence], algorithm: Algorithm, places: dict[int, tuple[int, int, Answer]], learnt: Learnt
) -> None:
    batch, answers = in_float64(part), [places[sequence.place] for sequence in part]
    logprobs = torch.cat([numbers(answer.logprobs) for _, _, answer in answers]).requires_grad_()
    entropy = torch.cat([numbers(answer.entropy) for _, _, answer in answers])
    loss, metrics = algorithm.loss(PolicyOutput(logprobs, entropy), batch)
    learnt.loss += loss.item()
    learnt.metrics.merge(metrics)
    for (g, i, _), row in zip(answers, _gradients(loss, logprobs, answers), strict=True):
        learnt.gradient[g][i] = row
        learnt.forwarded.add((g, i))
    if algorithm.estimator.critic:
        assert learnt.value_gradient is not None
        values = torch.cat([numbers(answer.values) for _, _, answer in answers]).requires_grad_()
        value_loss, _ = algorithm.value_loss(CriticOutput(values), batch)
        learnt.value_loss += value_loss.item()
        for (g, i, _), row in zip(answers, _gradients(value_loss, values, answers), strict=True):
            learnt.value_gradient[g][i] = row


def in_float64(sequences: list[TrainingSequence]) -> Batch:
    """collate, without its rounding to float32."""
    batch = collate(sequences)
    names = [name for name, column in vars(batch).items() if isinstance(column, Tensor) and column.is_floating_point()]
    names.remove("weights")
    exact = {name: torch.cat([getattr(sequence, name) for sequence in sequences]) for name in names}
    weights = torch.cat([torch.full_like(s.advantages, s.weight) for s in sequences])
    return replace(batch, weights=weights, **exact)


def groups_of(case: Case) -> tuple[list[Group], dict[int, tuple[int, int, Answer]]]:
    """(groups, what stands at each place). Short groups are filled up with answers whose judging failed."""
    longest = max((len(group) for group in case.groups), default=0)
    groups, places = [], {}
    for g, answers in enumerate(case.groups):
        rollouts = []
        for i in range(longest):
            if i < len(answers):
                places[g * longest + i] = g, i, answers[i]
            rollouts.append(_rollout(i, answers[i]) if i < len(answers) else _failed(i))
        groups.append(Group(Prompt(f"question {g}", (), "", (g + 1,)), rollouts))
    return groups, places


def _rollout(sample: int, answer: Answer) -> Rollout:
    end = FinishReason.LENGTH if answer.truncated else FinishReason.STOP
    ids, own = list(range(len(answer))), [True] * len(answer)
    verdict = Verdict(answer.reward)
    return Rollout(sample, ids, list(answer.rollout_logprobs), own, end, "", verdict, answer.reward)


def _failed(sample: int) -> Rollout:
    return Rollout(sample, [0], [-1.0], [True], FinishReason.STOP, "", Verdict(None, error="broke"), None)


def numbers(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _gradients(loss: Tensor, leaf: Tensor, answers: list[tuple[int, int, Answer]]) -> list[list[float]]:
    (gradient,) = torch.autograd.grad(loss, leaf)
    return [row.tolist() for row in torch.split(gradient, [len(answer) for _, _, answer in answers])]


def _advantages(case: Case) -> Advantages:
    return [[None for _ in group] for group in case.groups]


def _zeros(case: Case) -> Gradient:
    return [[[0.0] * len(answer) for answer in group] for group in case.groups]

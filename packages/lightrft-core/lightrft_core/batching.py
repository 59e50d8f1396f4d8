"""From training sequences to the tensors of a micro-batch, under a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from lightrft_core.types import Media

PromptKey: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""A prompt's tokens, and the hashes of its media."""


@dataclass
class TrainingSequence:
    """One rollout as the loss sees it.

    prompt_ids, response_ids: the tokens as sampled; sequences side by side with equal prompts share them.
    loss_mask: [response] which response tokens carry loss; the tensors below hold one number for each of those.
    weight: of each loss token in the step's loss (aggregation.token_weight).
    share: of the tokens that are read in its optimiser step (read_tokens), those of this sequence.
    place: its number in the step's batch of rollouts.
    media: the prompt's.
    The optional columns [tokens] are what models said of the answer before it was learnt from.
    """

    prompt_ids: tuple[int, ...]
    response_ids: Sequence[int]
    loss_mask: Sequence[bool]
    weight: float
    advantages: Tensor
    rollout_logprobs: Tensor
    place: int = 0
    share: float = 1.0
    old_logprobs: Tensor | None = None
    old_entropy: Tensor | None = None
    reference_logprobs: Tensor | None = None
    teacher_logprobs: Tensor | None = None
    old_values: Tensor | None = None
    returns: Tensor | None = None
    selected: Tensor | None = None
    media: tuple[Media, ...] = ()

    @property
    def prompt(self) -> PromptKey:
        """What tells its prompt from others: its tokens, and what their placeholders stand for."""
        return self.prompt_ids, tuple(media.sha256 for media in self.media)


@dataclass
class Batch:
    """A micro-batch: prompts once, the responses that continue them, and one number per loss token.

    prompt_ids, prompt_mask: [prompts, prompt_time], padded on the left, where prompt_mask is False.
    response_ids, loss_mask: [batch, response_time], padded on the right; loss_mask is True at tokens that carry loss.
    prompt_index: [batch] which row of prompt_ids a response continues; ascending.
    sequence_ids: [tokens] which row of response_ids a loss token belongs to. Loss tokens come row by row, unpadded.
    weights, advantages, rollout_logprobs: [tokens].
    share: of the tokens that are read in the optimiser step, those of this micro-batch.
    work: what computing it costs, in a partition's units.
    rollouts: of each row of response_ids, its number in the step's batch of rollouts.
    media: of each row of prompt_ids, in reading order.
    The optional columns are [tokens], or None where no model was asked: old_logprobs are then the policy's own (a first
    step on fresh samples). selected: which tokens carry the objective; None: all.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    response_ids: Tensor
    prompt_index: Tensor
    loss_mask: Tensor
    sequence_ids: Tensor
    weights: Tensor
    advantages: Tensor
    rollout_logprobs: Tensor
    share: float = 1.0
    work: float = 0.0
    rollouts: tuple[int, ...] = ()
    media: tuple[tuple[Media, ...], ...] = ()
    old_logprobs: Tensor | None = None
    reference_logprobs: Tensor | None = None
    teacher_logprobs: Tensor | None = None
    old_values: Tensor | None = None
    returns: Tensor | None = None
    selected: Tensor | None = None


def read_tokens(sequence: TrainingSequence) -> int:
    """How many tokens a sequence's loss depends on: its prompt, and its answer up to before its last loss token."""
    last = max((place for place, kept in enumerate(sequence.loss_mask) if kept), default=-1)
    return len(sequence.prompt_ids) + last if last >= 0 else 0


def micro_batches(
    sequences: Sequence[TrainingSequence],
    *,
    token_budget: int,
    max_sequences: int,
    shared_prompts: bool = True,
    packing: bool = False,
) -> list[list[TrainingSequence]]:
    """Cut sequences into micro-batches whose tokens, those of padding included, fit the budget.

    shared_prompts: whether a prompt is computed, and counted, once for all its answers of a micro-batch.
    packing: whether no padding is computed.

    Groups with long answers come first and like lengths stand together, so that little is padded. A single sequence
    over the budget stands alone.
    """
    groups = [list(group) for _, group in groupby(sequences, key=lambda sequence: sequence.prompt)]
    groups.sort(key=lambda group: -max(len(sequence.response_ids) for sequence in group))
    plan: list[list[TrainingSequence]] = []
    for sequence in (sequence for group in groups for sequence in group):
        grown = [*plan[-1], sequence] if plan else []
        fits = plan and padded_tokens(grown, shared=shared_prompts, packing=packing) <= token_budget
        if fits and len(grown) <= max_sequences:
            plan[-1].append(sequence)
        else:
            plan.append([sequence])
    return plan


def padded_tokens(sequences: Sequence[TrainingSequence], *, shared: bool = True, packing: bool = False) -> int:
    """Tokens a batch of these sequences computes: prompts, once each if shared, and responses; padded unless packed."""
    read = _distinct_prompts(sequences) if shared else sequences
    prompts = [sequence.prompt_ids for sequence in read]
    if packing:
        return sum(map(len, prompts)) + sum(len(sequence.response_ids) for sequence in sequences)
    longest_prompt = max(map(len, prompts))
    longest_response = max(len(sequence.response_ids) for sequence in sequences)
    return len(prompts) * longest_prompt + len(sequences) * longest_response


def collate(sequences: Sequence[TrainingSequence]) -> Batch:
    """Pad sequences into one batch; what stands in the padding never reaches the loss.

    No sequences make a batch that can be computed and has no loss tokens: what a rank does while others still learn.
    """
    if not sequences:
        return replace(collate([_NOTHING]), rollouts=())
    prompts = _distinct_prompts(sequences)
    changes = [a.prompt != b.prompt for a, b in pairwise(sequences)]
    prompt_ids, prompt_mask = _padded([sequence.prompt_ids for sequence in prompts], left=True)
    response_ids, _ = _padded([sequence.response_ids for sequence in sequences], left=False)
    loss_mask, _ = _padded([sequence.loss_mask for sequence in sequences], left=False)
    return Batch(
        prompt_ids,
        prompt_mask,
        response_ids,
        prompt_index=torch.tensor([False, *changes]).cumsum(0),
        loss_mask=loss_mask.bool(),
        sequence_ids=loss_mask.nonzero()[:, 0],
        weights=torch.cat([torch.full_like(s.advantages, s.weight, dtype=torch.float32) for s in sequences]),
        advantages=torch.cat([s.advantages for s in sequences]).float(),
        rollout_logprobs=torch.cat([s.rollout_logprobs for s in sequences]).float(),
        share=sum(s.share for s in sequences),
        rollouts=tuple(s.place for s in sequences),
        media=tuple(sequence.media for sequence in prompts),
        old_logprobs=_column([s.old_logprobs for s in sequences]),
        reference_logprobs=_column([s.reference_logprobs for s in sequences]),
        teacher_logprobs=_column([s.teacher_logprobs for s in sequences]),
        old_values=_column([s.old_values for s in sequences]),
        returns=_column([s.returns for s in sequences]),
        selected=_column([s.selected for s in sequences]),
    )


_NO_TOKENS = torch.zeros(0)
_NOTHING = TrainingSequence(
    (0,), [0], [False], 0.0, _NO_TOKENS, _NO_TOKENS, share=0.0, old_values=_NO_TOKENS, returns=_NO_TOKENS
)


def _column(parts: Sequence[Tensor | None]) -> Tensor | None:
    """[tokens] the parts joined, numbers in float32; None if all are missing. Raises ValueError if only some are."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    if len(present) < len(parts):
        raise ValueError("some sequences of a micro-batch have not been scored")
    column = torch.cat(present)
    return column if column.dtype == torch.bool else column.float()


def _distinct_prompts(sequences: Sequence[TrainingSequence]) -> list[TrainingSequence]:
    """Of each run of sequences with one prompt the first."""
    return [next(group) for _, group in groupby(sequences, key=lambda sequence: sequence.prompt)]


def _padded(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    """(values, mask), both [rows, longest]."""
    width = max(map(len, rows))
    values = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        values[index, place] = torch.tensor(row, dtype=torch.long)
        mask[index, place] = True
    return values, mask

"""A packed row with pictures and a film in it, computed by several ranks together; ranks call this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy
import torch
import torch.distributed as dist
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.packing import flatten
from lightrft_strategy.reading import Reader

from ...strategy.training.recorded import exactly
from ...strategy.training.sequence_runs import objective, together
from ..conformance.prompts import Clip, Picture, asked
from .mixed_runs import adapter_of, rotated


@dataclass(frozen=True)
class Said:
    """gradient: of one learner's micro-batch, added up over its ranks."""

    loss: float
    logprobs: numpy.ndarray
    entropy: numpy.ndarray
    gradient: dict[str, numpy.ndarray]


def a_batch(folder: str) -> Batch:
    """Answers to prompts of three pictures, of a film and a picture, and of text, an odd number of tokens in all."""
    questions = (
        asked("Of", Picture(1, 20, 15), Picture(2, 9, 9), "and", Picture(1, 20, 15), "which?"),
        asked(Clip(3, 4, 16, 12), "or", Picture(4, 24, 24)),
        asked("Nothing to see."),
    )
    generator, sequences = torch.Generator().manual_seed(7), []
    for told, lengths in zip(questions, ((5, 1, 9), (4,), (3, 8)), strict=True):
        ids = adapter_of(folder).encode(told.messages, told.media)[1]
        for length in lengths:
            answer = torch.randint(200, (length,), generator=generator).tolist()
            mask = [place % 5 != 3 for place in range(length)]
            numbers = torch.randn(sum(mask), generator=generator)
            sequences.append(TrainingSequence(ids, answer, mask, 0.1, numbers, -numbers.abs(), media=told.media))
    return collate(sequences)


def length_of(batch: Batch) -> int:
    return flatten(batch)[0].tokens


@patch.object(modeling_qwen2_5_vl, "apply_rotary_pos_emb_vision", rotated)
def passes(folder: str, sp_size: int, ring: bool = False) -> Said:
    """What comes of the batch on so many ranks, by Ulysses or on a ring; 0: on one process without a group."""
    ranks, group = together(sp_size, ring)
    model: Any = exactly(adapter_of(folder).load_model(folder), torch.float64)
    actor = LanguageActor(model, reader=Reader(adapter_of(folder)), packing=True, sequence_group=group)
    batch = a_batch(folder)
    output = actor(batch)
    loss, _ = objective(output, batch)
    loss.backward()
    found = {}
    for name, parameter in actor.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if ranks.world_size > 1:
            dist.all_reduce(gradient)
        found[name] = gradient.numpy() / ranks.learners
    return Said(loss.item(), output.logprobs.detach().numpy(), output.entropy.detach().numpy(), found)

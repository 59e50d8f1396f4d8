"""What the ranks of test_planning_held.py do: hold a model, or compute with slices of it, and count bytes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import Hold, OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.full import local
from lightrft_strategy.training.mesh import rows
from lightrft_strategy.training.slices import slice_layers
from lightrft_strategy.training.zero_slices import slice_layers_by

PROMPT, ANSWER, ANSWERS = 50, 31, 6
"""Tokens of the one prompt and of each of its answers."""


def language_model() -> Any:
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def held_bytes(hold: Hold, tp_size: int = 1) -> int:
    """Of everything that holding the model for training in bfloat16 leaves alive on this rank."""
    before = _alive()
    strategy = TorchStrategy(
        {"policy": LanguageActor(language_model())},
        {"policy": OptimiserConfig(1e-3, total_steps=2)},
        bf16=True,
        hold=hold,
        ranks=TorchRanks(tp_size),
    )
    held = _alive() - before
    del strategy
    return held


def _alive() -> int:
    gc.collect()
    sizes: dict[int, int] = {}
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor):
            local = found.to_local() if hasattr(found, "to_local") else found
            storage = local.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


@dataclass(frozen=True)
class Measured:
    """A packed micro-batch on a rank. saved, peak: bytes, as in Pass. summed: numbers that ranks added up."""

    saved: int
    peak: int
    summed: int


def sliced_pass(size: int, dtype: torch.dtype, zero: bool, recompute: bool) -> Measured:
    """A forward and a backward pass of a model whose layers so many ranks hold in slices, torch's or DeepSpeed's."""
    model = language_model().to(dtype)
    if recompute:
        model.gradient_checkpointing_enable()
        model.train()
    actor, mesh = LanguageActor(model, packing=True), rows(size)["tp"]
    if zero:
        import deepspeed

        slice_layers_by(deepspeed, actor, layers(actor), mesh)
    else:
        slice_layers(actor, layers(actor), mesh)
    batch = _batch()
    actor(batch).logprobs.sum().backward()
    actor.zero_grad()
    saved = _saved(actor, lambda: actor(batch).logprobs.sum())
    return Measured(saved, *_traced(lambda: actor(batch).logprobs.sum().backward()))


def _batch() -> Batch:
    nothing = torch.zeros(ANSWER, dtype=torch.float64)
    ids = [1 + i % 7 for i in range(ANSWER)]
    prompt = tuple(range(1, PROMPT + 1))
    return collate([TrainingSequence(prompt, ids, [True] * ANSWER, 1.0, nothing, nothing) for _ in range(ANSWERS)])


def _saved(module: torch.nn.Module, run: Callable[[], Tensor]) -> int:
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = local(tensor).untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run().backward()
    weights = {local(known).untyped_storage()._cdata for known in [*module.parameters(), *module.buffers()]}
    module.zero_grad()
    return sum(size for key, size in sizes.items() if key not in weights)


def _traced(run: Callable[[], None]) -> tuple[int, int]:
    """(most bytes that are allocated at once, numbers that ranks add up), as the profiler sees them."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True) as traced:
        run()
    events = traced.profiler.kineto_results.events()
    now = peak = 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak, sum(prod(event.shapes()[0]) for event in events if event.name() == "gloo:all_reduce")

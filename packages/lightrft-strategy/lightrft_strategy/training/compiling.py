"""Decoder layers compiled by torch.compile: one graph for all layers of a kind, whatever the shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

from lightrft_core import Engine, Group, Metrics, Prompt, SamplingParams
from lightrft_strategy.packing.attention import left_as_it_is
from lightrft_strategy.training.fsdp2 import layers

MOST_GRAPHS = 64
"""Of a kind of layer: with and without gradient, with and without a mask, one row and several, and so on."""


def compile_layers(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Let a model's decoder layers compute by compiled graphs from now on.

    The layers share their graphs, in which sizes are symbols. What is around them, and the attention of packed rows,
    whose pieces are others in each micro-batch, stays as it is. Hooks on layers, such as those that gather shards, run
    outside of the graphs. Raises ValueError if the model has no list of layers; and later, when a kind of layer would
    take more than MOST_GRAPHS graphs, RuntimeError: it would be computed without, and nobody would know.
    """
    left_as_it_is()
    compiled: dict[Any, Any] = {}
    for layer in layers(model):
        plain = type(layer).forward
        if plain not in compiled:
            compiled[plain] = _limited(torch.compile(plain, backend=backend, dynamic=True))
        layer.forward = MethodType(compiled[plain], layer)


def _limited(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's compiled function, which raises where dynamo would fall back to the plain one."""
    from torch._dynamo import config
    from torch._dynamo.exc import FailOnRecompileLimitHit

    def forward(layer: nn.Module, *inputs: Any, **named: Any) -> Any:
        try:
            with config.patch(recompile_limit=MOST_GRAPHS, fail_on_recompile_limit_hit=True):
                return compiled(layer, *inputs, **named)
        except FailOnRecompileLimitHit as error:
            raise RuntimeError(
                f"{type(layer).__name__} would take more than {MOST_GRAPHS} compiled graphs, so that compiling it does "
                "not pay: go on without --compile"
            ) from error

    return forward


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Within, layers that compile_layers has compiled compute as they did before."""
    compiled = [(layer, vars(layer).pop("forward")) for layer in layers(model) if "forward" in vars(layer)]
    try:
        yield
    finally:
        for layer, forward in compiled:
            layer.forward = forward


class SampledUncompiled:
    """An engine that samples from the trainer's own model: a token at a time, graphs would only be in the way."""

    def __init__(self, engine: Engine, model: nn.Module) -> None:
        self.engine, self.model = engine, model

    def load_weights(self, version: int) -> Metrics:
        """As the engine does."""
        return self.engine.load_weights(version)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """As the engine does, from the model as it was before it was compiled."""
        with uncompiled(self.model):
            return self.engine.generate(prompts, sampling, step=step)

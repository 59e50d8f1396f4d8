"""A whole copy of a model that ranks hold in shards, for engines to sample from and for export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from lightrft_core import Engine, Group, Metrics, Prompt, SamplingParams
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.held import Held

M = TypeVar("M", bound=nn.Module)


class Replica(Generic[M]):
    """actor: like the held module, but whole, in the precision that one is computed in.

    Costs the memory of its weights, on every rank.
    """

    def __init__(self, actor: M, held: Held) -> None:
        self.actor, self.held = actor.requires_grad_(False), held

    @property
    def model(self) -> Any:
        """The Hugging Face model in it."""
        return self.actor.model

    def tensors(self) -> list[Tensor]:
        """All that it takes memory for."""
        return [*self.actor.parameters(), *self.actor.buffers()]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the weights as they now stand. Every rank calls it."""
        own = self.actor.state_dict()
        for name, tensor in full_tensors(self.held.module, self.held.dtype):
            own[name].copy_(tensor)


class Replicated:
    """An engine that samples from a replica, which is refreshed before each hand-over."""

    def __init__(self, engine: Engine, replica: Replica[Any]) -> None:
        self.engine, self.replica = engine, replica

    def load_weights(self, version: int) -> Metrics:
        """Bring the replica up to date, then what the engine itself does."""
        self.replica.refresh()
        return self.engine.load_weights(version)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """As the engine does."""
        return self.engine.generate(prompts, sampling, step=step)

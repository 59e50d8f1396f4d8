"""What a phase can do without lies in host memory meanwhile: moments and masters, and models that only score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightrft_strategy.devices import device
from lightrft_strategy.training.held import Held
from lightrft_strategy.training.replica import Replica
from lightrft_strategy.training.strategy import TorchStrategy

Carry: TypeAlias = Callable[[Tensor], Tensor]
"""A copy of a tensor in another place."""

SAMPLED = frozenset({"sample", "publish", "evaluate", "checkpoint"})
"""Phases around sampling: `publish` refreshes what is sampled from, and between two of them nothing else needs room."""


@dataclass
class Resting:
    """Tensors that are on the device in these phases alone.

    tensors: which, whenever it is asked. away, back: how they travel. here: whether they are on the device now.
    """

    phases: frozenset[str]
    tensors: Callable[[], Iterable[Tensor]]
    away: Carry
    back: Carry
    here: bool = True

    def place(self, phase: str) -> None:
        """Bring them on for a phase that needs them, and away for one that does not."""
        if (phase in self.phases) != self.here:
            carry(self.tensors(), self.away if self.here else self.back)
            self.here = not self.here


def resting(
    strategy: TorchStrategy,
    replica: Replica[Any] | None = None,
    *,
    away: Carry | None = None,
    back: Carry | None = None,
) -> list[Resting]:
    """Of a strategy's models: what only the optimiser step reads, and all of those that are neither sampled nor learn.

    The policy's weights stay: engines read them; so do weights in shards (Held.movable). replica: the whole copy that
    engines read in place of shards; it is there around sampling. away, back: None: to the host and to the device.
    """
    travel = away or to_host, back or to_device
    parts: list[Resting] = []
    if replica is not None:
        parts.append(Resting(SAMPLED, replica.tensors, *travel))
    for name, held in strategy.held.items():
        learns = name in strategy.optimisers
        if learns:
            parts.append(Resting(frozenset({"optimise"}), partial(_of_optimiser, strategy, name), *travel))
        if name != "policy":
            phases = frozenset({"estimate", "optimise"} if learns else {"estimate"})
            parts.append(Resting(phases, partial(_weights, held), *travel))
    return parts


def _of_optimiser(strategy: TorchStrategy, name: str) -> list[Tensor]:
    average = strategy.averages[name].shards if name in strategy.averages else []
    return [*strategy.held[name].movable()[0], *average]


def _weights(held: Held) -> list[Tensor]:
    return held.movable()[1]


@torch.no_grad()
def carry(tensors: Iterable[Tensor], by: Carry) -> None:
    """Let tensors have their numbers elsewhere; those that were one memory are one memory there."""
    carried: dict[tuple[object, ...], Tensor] = {}
    for tensor in tensors:
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if key not in carried:
            carried[key] = by(tensor.data)
        tensor.data = carried[key]


def to_host(tensor: Tensor) -> Tensor:
    """A copy in host memory that the accelerator can read from at full speed."""
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)


def to_device(tensor: Tensor) -> Tensor:
    """A copy on the accelerator."""
    return tensor.to(device(), non_blocking=True)

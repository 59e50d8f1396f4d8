"""A model whose layers one of several ranks holds in slices (training/slices.py): their shapes, and what it sends."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.slices import plan_slices


@dataclass
class Row:
    """Ranks with slices of the same layers, seen by one of them. sent: bytes it has sent the others, in rings."""

    size: int = 1
    sent: float = 0.0

    def summed(self, tensor: Tensor) -> Tensor:
        """Like the sum over the ranks of what each has of a tensor."""
        self.sent += 2 * (self.size - 1) / self.size * tensor.nbytes
        return tensor.clone()

    def gathered(self, tensor: Tensor) -> Tensor:
        """Like what the ranks have of a last dimension, one behind the other."""
        self.sent += (self.size - 1) * tensor.nbytes
        return torch.cat([tensor] * self.size, -1)

    def own(self, tensor: Tensor) -> Tensor:
        """Like this rank's part of a last dimension."""
        return tensor.narrow(-1, 0, tensor.shape[-1] // self.size).contiguous()


Way: TypeAlias = Callable[[Row, Tensor], Tensor]
Exchange: TypeAlias = tuple[Way, Way] | None
"""What is done to states forward and to their gradients backward; None: nothing is exchanged."""


@dataclass(frozen=True)
class Sliced:
    """A module with one rank's slices. attending: how many ranks share its attention heads."""

    module: LanguageActor | LanguageCritic
    row: Row
    attending: int


def sliced(module: LanguageActor | LanguageCritic, size: int) -> Sliced:
    """A copy of a module on the meta device, cut for so many ranks. Raises ValueError as plan_slices does."""
    part, row = copy.deepcopy(module, {id(module.reader): module.reader}), Row(size)
    plan = plan_slices(part, layers(part), size)
    for name, (whole, kind) in plan.linear.items():
        part.set_submodule(name, _Slice(whole, kind, row))
    heads = any("attn" in name and kind == "colwise" for name, (_, kind) in plan.linear.items())
    return Sliced(part, row, size if heads else 1)


class _Slice(nn.Module):
    """One rank's slice of a linear layer, of the kind that its plan says: see STYLES of training/slices.py."""

    def __init__(self, whole: nn.Linear, kind: str, row: Row) -> None:
        super().__init__()
        self.row, (self.before, self.after) = row, _EXCHANGES[kind]
        by_output = kind.startswith("colwise")
        self.weight = _cut(whole.weight, row.size, 0 if by_output else 1)
        self.bias = whole.bias if whole.bias is None or not by_output else _cut(whole.bias, row.size, 0)

    def forward(self, states: Tensor) -> Tensor:
        return self._exchanged(self.after, linear(self._exchanged(self.before, states), self.weight, self.bias))

    def _exchanged(self, exchange: Exchange, states: Tensor) -> Tensor:
        if exchange is None:
            return states
        exchanged: Tensor = _Exchanged.apply(self.row, *exchange, states)  # type: ignore[no-untyped-call]
        return exchanged


def _cut(weight: Tensor, size: int, dim: int) -> nn.Parameter:
    part = weight.detach().chunk(size, dim)[0].clone(memory_format=torch.contiguous_format)
    return nn.Parameter(part, requires_grad=weight.requires_grad)


class _Exchanged(torch.autograd.Function):
    """there: what is done to states on their way forward; back: what is done to their gradients."""

    @staticmethod
    def forward(ctx: Any, row: Row, there: Way, back: Way, states: Tensor) -> Tensor:
        ctx.row, ctx.back = row, back
        return there(row, states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, Tensor]:
        return None, None, None, ctx.back(ctx.row, gradients[0])


def _as_it_is(_: Row, states: Tensor) -> Tensor:
    return states.view_as(states)


_MEET, _SUM = (_as_it_is, Row.summed), (Row.summed, _as_it_is)
_GATHER, _SPLIT = (Row.gathered, Row.own), (Row.own, Row.gathered)

_EXCHANGES: Mapping[str, tuple[Exchange, Exchange]] = {
    "colwise": (_MEET, None),
    "rowwise": (None, _SUM),
    "colwise_gather_output": (_MEET, _GATHER),
    "rowwise_split_input": (_SPLIT, _SUM),
}
"""(before, after) a linear layer of each kind. _MEET: all ranks have it alike and use it each for a slice."""

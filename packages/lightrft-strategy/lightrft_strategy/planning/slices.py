"""A model whose layers one of several ranks holds in slices (training/slices.py): their shapes, and what it sends."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
        return self.after(self.row, linear(self.before(self.row, states), self.weight, self.bias))


def _cut(weight: Tensor, size: int, dim: int) -> nn.Parameter:
    part = weight.detach().chunk(size, dim)[0].clone(memory_format=torch.contiguous_format)
    return nn.Parameter(part, requires_grad=weight.requires_grad)


class _Meet(torch.autograd.Function):
    """What all ranks have alike and each uses for its slice, so that gradients of all add up."""

    @staticmethod
    def forward(ctx: Any, row: Row, states: Tensor) -> Tensor:
        ctx.row = row
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.row.summed(gradients[0])


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Row, states: Tensor) -> Tensor:
        return row.summed(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Row, states: Tensor) -> Tensor:
        ctx.row = row
        return row.gathered(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.row.own(gradients[0])


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Row, states: Tensor) -> Tensor:
        ctx.row = row
        return row.own(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.row.gathered(gradients[0])


def _as_it_is(_: Row, states: Tensor) -> Tensor:
    return states


_Exchange = Callable[[Row, Tensor], Tensor]
_EXCHANGES: Mapping[str, tuple[_Exchange, _Exchange]] = {
    "colwise": (_Meet.apply, _as_it_is),
    "rowwise": (_as_it_is, _Sum.apply),
    "colwise_gather_output": (_Meet.apply, _Gather.apply),
    "rowwise_split_input": (_Split.apply, _Sum.apply),
}

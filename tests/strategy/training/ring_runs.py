"""Attention of a row whose keys and values go round, with what each rank finds of its own slice; ranks call these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_strategy.packing.attention import attend_row
from lightrft_strategy.packing.row import FlatRow
from lightrft_strategy.planning.counting import Alive
from lightrft_strategy.ring import Ring
from lightrft_strategy.ulysses import Ulysses

from ..test_packing_attention import Lengths, states

_made: dict[int, Ring] = {}


def ring_of(size: int) -> Ring:
    """This rank's ring of so many neighbours, made once; all ranks ask for the same ones in the same order."""
    if size not in _made:
        groups = [dist.new_group([*range(start, start + size)]) for start in range(0, dist.get_world_size(), size)]
        mine, rank = divmod(dist.get_rank(), size)
        _made[size] = Ring(groups[mine], rank, size)
    return _made[size]


@dataclass(frozen=True)
class Drawn:
    """A row to attend to. ahead: number of tokens at its beginning that see each other; 0: none."""

    lengths: Lengths
    window: int | None
    heads: tuple[int, int, int, int]
    scale: float = 0.7
    ahead: int = 0
    dtype: torch.dtype = torch.float64

    def row(self, multiple: int = 1) -> FlatRow:
        """With a tree at its end, as flatten makes it, so that its length is a multiple."""
        missing = -sum(root + sum(leaves) for root, leaves in self.lengths) % multiple
        row = FlatRow([*self.lengths, *[(missing, list[int]())] * bool(missing)])
        row.look_ahead(torch.tensor([0] * self.ahead + [-1] * (row.tokens - self.ahead)))
        return row

    def inputs(self, row: FlatRow) -> tuple[Tensor, ...]:
        """Query, key, value, and the gradient of what is attended [1, tokens, heads, value dim]."""
        made = [each.detach().to(self.dtype) for each in states(row, *self.heads)]
        generator = torch.Generator().manual_seed(row.tokens + 1)
        heads, value_dim = self.heads[0], self.heads[3]
        return *made, torch.randn(1, row.tokens, heads, value_dim, generator=generator).to(self.dtype)


def attended(drawn: Drawn, size: int) -> tuple[numpy.ndarray, ...]:
    """Where own tokens stand in the row, what they see and the gradients of their queries, keys and values."""
    ring = ring_of(size)
    row = drawn.row(ring.multiple)
    places = ring.own(torch.arange(row.tokens)[None])[0]
    *inputs, gradient = drawn.inputs(row)
    own = [each[:, :, places].requires_grad_() for each in inputs]
    out = ring.attend(*own, row, drawn.scale, drawn.window)
    out.backward(gradient[:, places])
    found = [out.detach(), *(each.grad.transpose(1, 2) for each in own if each.grad is not None)]
    return places.numpy(), *(each[0].double().numpy() for each in found)


def peak(kind: str, size: int, tokens: int) -> int:
    """The most bytes alive at once in one attention over a row, of 4 heads of 64 numbers, 2 of keys, and its gradient.

    kind: "ring" or "Ulysses"; with size 1, the attention of a process that has the whole row.
    """
    ring, row = ring_of(size) if size > 1 else None, FlatRow([(tokens, [])])
    generator = torch.Generator().manual_seed(dist.get_rank())
    with Alive() as alive:
        own = [
            torch.randn(1, tokens // size, heads, 64, generator=generator).transpose(1, 2).requires_grad_()
            for heads in (4, 2, 2)
        ]
        if ring is None:
            out = attend_row(*own, row, 0.125, None)
        elif kind == "ring":
            out = ring.attend(*own, row, 0.125, None)
        else:
            out = Ulysses(ring.group, ring.rank, size).attend(*own, row, 0.125, None)
        out.backward(torch.ones_like(out))
    return int(alive.peak)

"""One packed row on several ranks, keys and values going round: Ring Attention (Liu et al. 2023, arXiv 2310.01889).

A rank's queries meet the block of each rank in turn, while it is handed on (section 3, algorithm 1). What is seen of a
block joins what was seen before by the log of the softmax sums; backward, each block has FlashAttention-2's gradient
(Dao 2023, arXiv 2307.08691, algorithm 2), and that of keys and values goes round with them. A row is cut into twice as
many parts as ranks, of which each has one from the front and one from the back: under causality all have equally much
to do (Grattafiori et al. 2024, arXiv 2407.21783, section 3.3.2). Only what is seen is computed, in tiles of TILE tokens
square; below 32 bits blocks travel as they are and are computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_strategy.packing.pieces import Piece, Shape, cut, pieces
from lightrft_strategy.packing.row import FlatRow
from lightrft_strategy.sequence import require_positions_of_a_slice

TILE = 512
"""The most queries, and keys, whose scores are held at once."""


@dataclass(frozen=True)
class Ring:
    """A SequenceGroup of so many ranks. rank: this one's place among them; it hands its blocks to the next one."""

    group: dist.ProcessGroup
    rank: int
    size: int

    @property
    def multiple(self) -> int:
        return 2 * self.size

    def require_sliceable(self, model: Any) -> None:
        require_positions_of_a_slice(model, "--ring_attn_size")

    def own(self, row: Tensor) -> Tensor:
        parts = row.chunk(self.multiple, 1)
        return torch.cat([parts[part] for part in self._parts(self.rank)], 1)

    def owned(self, places: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        length = tokens // self.multiple
        front, back = (places // length == part for part in self._parts(self.rank))
        owned = (front | back).nonzero()[:, 0]
        return owned, (places % length + length * back)[owned]

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, row: FlatRow, scale: float, window: int | None
    ) -> Tensor:
        grouped = query[0].view(key.shape[1], -1, *query.shape[2:])
        attended: Tensor = _Attention.apply(grouped, key[0], value[0], row.plan(window, self.steps), scale, self)  # type: ignore[no-untyped-call]
        return attended.flatten(0, 1).transpose(0, 1)[None]

    def steps(self, row: FlatRow, window: int | None) -> list[list[Piece]]:
        """What own queries see of each block, in the order in which blocks come; tokens by their places in slices."""
        cells = [list(self._cells((self.rank - step) % self.size, row.tokens)) for step in range(self.size)]
        found: list[list[Piece]] = [[] for _ in cells]
        for piece in pieces(row, window):
            mine = [cell for cell in cells[0] if cell.meets(piece.queries)]
            for step, block in enumerate(cells if mine else ()):
                seen = [cell for cell in block if cell.meets(piece.keys)]
                for one in mine:
                    for other in seen:
                        found[step] += (
                            Piece(one.local(part.queries), other.local(part.keys), part.shape)
                            for part in cut(piece, one.tokens, other.tokens)
                        )
        return found

    def _parts(self, rank: int) -> tuple[int, int]:
        return rank, self.multiple - 1 - rank

    def _cells(self, rank: int, tokens: int) -> Iterator[_Cell]:
        length = tokens // self.multiple
        for place, part in enumerate(self._parts(rank)):
            span = range(part * length, (part + 1) * length)
            for start in range(0, length, TILE):
                yield _Cell(span[start : start + TILE], span.start - place * length)


@dataclass(frozen=True)
class _Cell:
    """Tokens of a row that lie side by side in a rank's slice, too. shift: from there to their places in the row."""

    tokens: range
    shift: int

    def meets(self, span: range) -> bool:
        return self.tokens.start < span.stop and span.start < self.tokens.stop

    def local(self, span: range) -> range:
        return range(span.start - self.shift, span.stop - self.shift)


class _Passing:
    """A block on its way to the next rank, while that of the rank before comes in its place."""

    def __init__(self, ring: Ring, block: Tensor) -> None:
        self.sent, self.received = block, torch.empty_like(block)
        to, source = (ring.rank + 1) % ring.size, (ring.rank - 1) % ring.size
        sending = dist.P2POp(dist.isend, self.sent, group=ring.group, group_peer=to)
        receiving = dist.P2POp(dist.irecv, self.received, group=ring.group, group_peer=source)
        self.works = dist.batch_isend_irecv([sending, receiving])

    def arrived(self) -> Tensor:
        for work in self.works:
            work.wait()
        return self.received


class _Attention(torch.autograd.Function):
    """query [key heads, group, own tokens, dim], key and value [key heads, own tokens, dim|value dim] -> as query."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, steps: list[list[Piece]], scale: float, ring: Ring
    ) -> Tensor:
        own = _exact(query)
        heads, group, tokens, _ = query.shape
        out = own.new_zeros(tokens, heads, group, value.shape[2]).permute(1, 2, 0, 3)
        sums = own.new_full((heads, group, tokens), -torch.inf)
        block = torch.cat([key, value], 2)
        for number, plan in enumerate(steps, 1):
            passing = _Passing(ring, block) if number < len(steps) else None
            keys, values = torch.split(_exact(block), [key.shape[2], value.shape[2]], 2)
            for piece in plan:
                place, seen = _slice(piece.queries), _slice(piece.keys)
                scores, before = _scores(piece, own, keys, scale), sums[:, :, place]
                part_sums = scores.logsumexp(3)
                part = scores.sub_(part_sums[..., None]).exp_().flatten(1, 2) @ values[:, seen]
                weight = (part_sums - before).sigmoid()[..., None]
                out[:, :, place].lerp_(part.view(heads, group, -1, part.shape[2]), weight)
                sums[:, :, place] = before.logaddexp(part_sums)
            block = passing.arrived() if passing else block
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.steps, ctx.scale, ctx.ring = steps, scale, ring
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        own, gradient = _exact(query), _exact(gradients[0])
        products = (gradient * out).sum(3)
        of_query, sizes = torch.zeros_like(own), [key.shape[2], value.shape[2]]
        block, handed = torch.cat([key, value], 2), None
        for number, plan in enumerate(ctx.steps, 1):
            passing = _Passing(ctx.ring, block) if number < len(ctx.steps) else None
            keys, values = torch.split(_exact(block), sizes, 2)
            of_block = torch.zeros_like(block, dtype=own.dtype)
            of_keys, of_values = torch.split(of_block, sizes, 2)
            for piece in plan:
                place, seen = _slice(piece.queries), _slice(piece.keys)
                shares = _scores(piece, own, keys, ctx.scale).sub_(sums[:, :, place, None]).exp_()
                output = gradient[:, :, place].flatten(1, 2)
                of_values[:, seen] += shares.flatten(1, 2).mT @ output
                of_scores = (output @ values[:, seen].mT).view_as(shares).sub_(products[:, :, place, None])
                of_scores = of_scores.mul_(shares).mul_(ctx.scale).flatten(1, 2)
                of_query[:, :, place] += (of_scores @ keys[:, seen]).view_as(own[:, :, place])
                of_keys[:, seen] += of_scores.mT @ own[:, :, place].flatten(1, 2)
            of_block = of_block if handed is None else of_block.add_(handed.arrived())
            handed = _Passing(ctx.ring, of_block)
            block = passing.arrived() if passing else block
        of_key, of_value = torch.split(handed.arrived().to(key.dtype), sizes, 2)  # type: ignore[union-attr]
        return of_query.to(query.dtype), of_key, of_value, None, None, None


def _exact(states: Tensor) -> Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _scores(piece: Piece, query: Tensor, keys: Tensor, scale: float) -> Tensor:
    """[key heads, group, queries, keys] of a piece, those that are not seen -inf."""
    own = query[:, :, _slice(piece.queries)]
    scores = (own.flatten(1, 2) @ keys[:, _slice(piece.keys)].mT).mul_(scale).view(*own.shape[:3], len(piece.keys))
    if piece.shape is Shape.FULL:
        return scores
    unseen = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device)
    return scores.masked_fill_(unseen.triu(1) if piece.shape is Shape.CAUSAL else unseen.tril(-1), -torch.inf)


def _slice(span: range) -> slice:
    return slice(span.start, span.stop)

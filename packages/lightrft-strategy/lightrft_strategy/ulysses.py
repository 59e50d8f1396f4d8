"""One packed row on several ranks that trade tokens for heads: Ulysses (Jacobs et al. 2023, arXiv 2309.14509).

All of a model but its attention looks at one token at a time. For attention each rank has all tokens of its share of
the heads, and afterwards its own tokens of all heads again (section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_strategy.packing.attention import attend_row
from lightrft_strategy.packing.row import FlatRow
from lightrft_strategy.sequence import require_positions_of_a_slice


@dataclass(frozen=True)
class Ulysses:
    """A SequenceGroup of so many ranks. rank: this one's place among them, and its slice of every row."""

    group: dist.ProcessGroup
    rank: int
    size: int

    @property
    def multiple(self) -> int:
        return self.size

    def require_sliceable(self, model: Any) -> None:
        """Raises ValueError, too, unless the ranks can share the model's heads equally."""
        name, heads = type(model).__name__, model.config.get_text_config().num_attention_heads
        if heads % self.size:
            fitting = [str(number) for number in range(1, heads + 1) if heads % number == 0]
            raise ValueError(
                f"{name} has {heads} attention heads, which {self.size} ranks cannot share equally: set --sp_size to "
                f"one of {', '.join(fitting)}, or --ring_attn_size in its place"
            )
        require_positions_of_a_slice(model, "--sp_size")

    def own(self, row: Tensor) -> Tensor:
        return row.chunk(self.size, 1)[self.rank]

    def owned(self, places: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        length = tokens // self.size
        owned = (places // length == self.rank).nonzero()[:, 0]
        return owned, places[owned] - self.rank * length

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, row: FlatRow, scale: float, window: int | None
    ) -> Tensor:
        query, key, value = self.by_heads(query, key, value)
        return self.by_tokens(attend_row(query, key, value, row, scale, window))

    def by_heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """[1, heads, own tokens, dim] each -> [1, heads / size, all tokens, dim].

        Key heads that size does not divide are copied as often as it takes; their gradients add up.
        Raises ValueError if size does not divide the query's heads.
        """
        if query.shape[1] % self.size:
            raise ValueError(f"{query.shape[1]} attention heads cannot be shared equally by {self.size} ranks")
        copies = lcm(key.shape[1], self.size) // key.shape[1]
        if copies > 1:
            key, value = (states.repeat_interleave(copies, 1) for states in (key, value))
        states = (query, key, value)
        parts = [each[0].transpose(0, 1).reshape(each.shape[2], self.size, -1) for each in states]
        received = self._exchange(torch.cat([part.transpose(0, 1) for part in parts], 2)).flatten(0, 1)
        back = zip(torch.split(received, [part.shape[2] for part in parts], 1), states, strict=True)
        return tuple(part.view(len(part), -1, each.shape[3]).transpose(0, 1)[None] for part, each in back)

    def by_tokens(self, attended: Tensor) -> Tensor:
        """[1, all tokens, heads / size, dim] -> [1, own tokens, heads, dim]."""
        tokens, _, dim = attended.shape[1:]
        received = self._exchange(attended[0].reshape(self.size, tokens // self.size, -1))
        return received.transpose(0, 1).reshape(1, tokens // self.size, -1, dim)

    def _exchange(self, parts: Tensor) -> Tensor:
        return _Exchange.apply(parts, self.group)  # type: ignore[no-any-return, no-untyped-call]


class _Exchange(torch.autograd.Function):
    """[size, ...] parts: number i goes to rank i, and what comes from rank i takes its place.

    Done twice it changes nothing, so it is its own gradient.
    """

    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_to_all(parts, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(gradients[0], ctx.group), None


def _all_to_all(parts: Tensor, group: dist.ProcessGroup) -> Tensor:
    parts = parts.contiguous()
    received = torch.empty_like(parts)
    dist.all_to_all_single(received, parts, group=group)
    return received

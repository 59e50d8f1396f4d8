"""One packed row on several ranks, a slice of its tokens on each: Ulysses (Jacobs et al. 2023, arXiv 2309.14509).

All of a model but its attention looks at one token at a time. For attention the ranks trade tokens for heads: each has
all tokens of its share of the heads, and afterwards its own tokens of all heads again (section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import lcm
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_core import Ranks

_BY_LENGTH = {"dynamic", "longrope"}
"""Kinds of rotary positions whose frequencies depend on the longest sequence that a model is given."""


@dataclass(frozen=True)
class SequenceGroup:
    """Ranks that compute each packed row together. rank: this one's place among them, and its slice of every row.

    Each scores the loss tokens whose hidden states it has, and learns through those alone: the gradients of all ranks
    add up to the row's.
    """

    group: dist.ProcessGroup
    rank: int
    size: int

    def own(self, row: Tensor) -> Tensor:
        """This rank's slice of [1, tokens]; size divides tokens."""
        return row.chunk(self.size, 1)[self.rank]

    def owned(self, places: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """Which of these places in a row of so many tokens lie in this rank's slice, and where in the slice."""
        length = tokens // self.size
        owned = (places // length == self.rank).nonzero()[:, 0]
        return owned, places[owned] - self.rank * length

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

    def together(self, scores: tuple[Tensor, ...], owned: Tensor, tokens: int) -> tuple[Tensor, ...]:
        """[tokens] each: the scores of all ranks, the same bits on each; the gradient is that of this rank's own.

        scores: [owned] each, of the loss tokens that this rank owns.
        """
        return _Together.apply(self.group, owned, tokens, *scores)  # type: ignore[no-any-return, no-untyped-call]

    def _exchange(self, parts: Tensor) -> Tensor:
        return _Exchange.apply(parts, self.group)  # type: ignore[no-any-return, no-untyped-call]


def sequence_group(ranks: Ranks, timeout: timedelta, tp_size: int = 1) -> SequenceGroup | None:
    """This rank among those that are one learner with it and have slices of its rows, or None if it has whole rows.

    tp_size: so many neighbours have the same slice of a row, and slices of the layers (FullyShard).
    Every rank calls it, once a run. timeout: how long a rank waits for the others before it gives up.
    """
    size = ranks.world_size // ranks.learners
    if size == tp_size:
        return None
    starts = [start + place for start in range(0, ranks.world_size, size) for place in range(tp_size)]
    groups = [dist.new_group([*range(start, start + size, tp_size)], timeout=timeout) for start in starts]
    mine, rank = divmod(ranks.rank, size)
    return SequenceGroup(groups[mine * tp_size + rank % tp_size], rank // tp_size, size // tp_size)


def require_sliceable(model: Any, size: int) -> None:
    """Raise ValueError, naming the model, unless so many ranks can compute a row of a Hugging Face model together."""
    config = model.config.get_text_config()
    name, heads = type(model).__name__, config.num_attention_heads
    if heads % size:
        fitting = [str(number) for number in range(1, heads + 1) if heads % number == 0]
        raise ValueError(
            f"{name} has {heads} attention heads, which {size} ranks cannot share equally: set --sp_size to one of "
            f"{', '.join(fitting)}"
        )
    positions = getattr(config, "rope_parameters", None) or {}
    kinds = {each.get("rope_type") for each in (positions, *positions.values()) if isinstance(each, dict)}
    for kind in kinds & _BY_LENGTH:
        raise ValueError(
            f"{name} has rotary positions that depend on the longest sequence it is given ({kind}), which a rank "
            "with a slice of a row does not see: leave --sp_size out"
        )


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


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, owned: Tensor, tokens: int, *scores: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(owned)
        ctx.set_materialize_grads(False)
        whole = scores[0].new_zeros(len(scores), tokens)
        whole[:, owned] = torch.stack(scores)
        dist.all_reduce(whole, group=group)
        return tuple(row.clone() for row in whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (owned,) = ctx.saved_tensors
        return None, None, None, *(None if each is None else each[owned] for each in gradients)

"""Ranks that compute each packed row together, a slice of its tokens each, in whatever way attention sees all of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_core import Ranks

if TYPE_CHECKING:
    from lightrft_strategy.packing.row import FlatRow  # its package imports this module

_BY_LENGTH = {"dynamic", "longrope"}
"""Kinds of rotary positions whose frequencies depend on the longest sequence that a model is given."""


class SequenceGroup(Protocol):
    """Each rank scores the loss tokens whose hidden states it has, and learns through those alone.

    The gradients of all ranks add up to the row's.
    """

    @property
    def group(self) -> dist.ProcessGroup:
        """The ranks."""

    @property
    def multiple(self) -> int:
        """What a row's number of tokens has to be a multiple of."""

    def require_sliceable(self, model: Any) -> None:
        """Raise ValueError, naming the model, unless these ranks can compute a row of a Hugging Face model together."""

    def own(self, row: Tensor) -> Tensor:
        """This rank's slice of [1, tokens]."""

    def owned(self, places: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """Which of these places in a row of so many tokens lie in this rank's slice, and where in the slice."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, row: FlatRow, scale: float, window: int | None
    ) -> Tensor:
        """[1, own tokens, heads, value dim] what these tokens see in the whole row.

        query, key, value: [1, heads|key heads, own tokens, dim|value dim].
        """


def sequence_group(
    kind: Callable[[dist.ProcessGroup, int, int], SequenceGroup], ranks: Ranks, timeout: timedelta, tp_size: int = 1
) -> SequenceGroup | None:
    """This rank among those that are one learner with it and have slices of its rows, or None if it has whole rows.

    kind: makes it of a process group, this rank's place in it and its size. tp_size: so many neighbours have the same
    slice of a row, and slices of the layers (FullyShard). timeout: how long a rank waits for the others before it gives
    up. Every rank calls it, once a run.
    """
    size = ranks.world_size // ranks.learners
    if size == tp_size:
        return None
    starts = [start + place for start in range(0, ranks.world_size, size) for place in range(tp_size)]
    groups = [dist.new_group([*range(start, start + size, tp_size)], timeout=timeout) for start in starts]
    mine, rank = divmod(ranks.rank, size)
    return kind(groups[mine * tp_size + rank % tp_size], rank // tp_size, size // tp_size)


def require_positions_of_a_slice(model: Any, flag: str) -> None:
    """Raise ValueError, naming the model, if its rotary positions depend on more of a row than a rank has."""
    positions = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {each.get("rope_type") for each in (positions, *positions.values()) if isinstance(each, dict)}
    for kind in kinds & _BY_LENGTH:
        raise ValueError(
            f"{type(model).__name__} has rotary positions that depend on the longest sequence it is given ({kind}), "
            f"which a rank with a slice of a row does not see: leave {flag} out"
        )


def together(group: dist.ProcessGroup, scores: tuple[Tensor, ...], owned: Tensor, tokens: int) -> tuple[Tensor, ...]:
    """[tokens] each: the scores of all ranks, the same bits on each; the gradient is that of this rank's own.

    scores: [owned] each, of the loss tokens that this rank owns.
    """
    return _Together.apply(group, owned, tokens, *scores)  # type: ignore[no-any-return, no-untyped-call]


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

"""Which part of a tensor lies on which rank."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from torch import Tensor
from torch.distributed.tensor import DTensor

from lightrft_core import Ranks


class Region(NamedTuple):
    """A box in a tensor: where it begins and how far it goes, by dimension."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def volume(self) -> int:
        return prod(self.sizes)

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(offset + size for offset, size in zip(self.offsets, self.sizes, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """What to index the whole tensor by."""
        return tuple(slice(start, end) for start, end in zip(self.offsets, self.ends, strict=True))

    def within(self, outer: Region) -> tuple[slice, ...]:
        """What to index a tensor by that holds `outer` and no more, to get this region of it."""
        starts = [mine - theirs for mine, theirs in zip(self.offsets, outer.offsets, strict=True)]
        return tuple(slice(start, start + size) for start, size in zip(starts, self.sizes, strict=True))


def intersection(one: Region, other: Region) -> Region:
    """What two regions of a tensor share; its volume is 0 where they share nothing."""
    starts = tuple(max(pair) for pair in zip(one.offsets, other.offsets, strict=True))
    ends = (min(pair) for pair in zip(one.ends, other.ends, strict=True))
    return Region(starts, tuple(max(0, end - start) for start, end in zip(starts, ends, strict=True)))


def held_region(name: str, tensor: Tensor) -> tuple[Region, Tensor] | None:
    """The region of a tensor that lies on this rank, and its elements, which share memory with it.

    A plain tensor is on every rank whole. None: this rank holds nothing of it.
    Raises ValueError for a DTensor whose ranks hold summands of it, or parts that are no boxes.
    """
    if not tensor.numel():
        return None
    if not isinstance(tensor, DTensor):
        return Region((0,) * tensor.ndim, tuple(tensor.shape)), tensor.detach()
    if any(placement.is_partial() for placement in tensor.placements):
        raise ValueError(f"the ranks hold summands of {name} ({tensor.placements}): redistribute it before saving it")
    if tensor.device_mesh.get_coordinate() is None:
        return None
    chunk = tensor.__create_chunk_list__()[0]  # type: ignore[no-untyped-call]
    local = tensor.to_local().detach()
    if local.shape != chunk.sizes:
        raise ValueError(f"{name} is laid out as {tensor.placements}, which gives ranks other parts than boxes")
    return (Region(tuple(chunk.offsets), tuple(chunk.sizes)), local) if local.numel() else None


class Turns:
    """Deals what several ranks hold to one of them each, so that all write about equally much.

    Every rank asks about the same tensors in the same order, and tells nothing to the others.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.rank, self.dealt, self.bytes = ranks.rank, 0, [0] * ranks.world_size

    def mine(self, tensor: Tensor) -> bool:
        """Whether this rank writes what it holds of a tensor."""
        if not isinstance(tensor, DTensor):
            writer = self.bytes.index(min(self.bytes))
            self.bytes[writer] += tensor.nbytes
            return writer == self.rank
        self.dealt += 1
        coordinate, turn = tensor.device_mesh.get_coordinate(), self.dealt
        if coordinate is None:
            return False
        for index, size, placement in zip(coordinate, tensor.device_mesh.shape, tensor.placements, strict=True):
            if placement.is_replicate():
                turn, chosen = divmod(turn, size)
                if chosen != index:
                    return False
        return True

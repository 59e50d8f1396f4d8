"""Weights in parcels of a bounded size, and the packing list that travels beside each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightrft_strategy.engines.sync.published import Published

BUCKET_BYTES = 256 * 2**20
_ALIGNMENT = 16


def buckets(tensors: Iterable[Published], size: int = BUCKET_BYTES) -> Iterator[list[Published]]:
    """In order, as many to a bucket as fit into `size` bytes; a larger tensor has one to itself."""
    bucket: list[Published] = []
    filled = 0
    for published in tensors:
        if bucket and filled + published.bytes > size:
            yield bucket
            bucket, filled = [], 0
        bucket.append(published)
        filled += published.bytes
    if bucket:
        yield bucket


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in a buffer of bytes."""

    names: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    offset: int


def layout(bucket: Sequence[Published]) -> tuple[list[Slot], int]:
    """Where each tensor of a bucket goes, and how many bytes they need."""
    slots, offset = [], 0
    for published in bucket:
        dtype = str(published.tensor.dtype).removeprefix("torch.")
        slots.append(Slot(published.names, dtype, tuple(published.tensor.shape), offset))
        offset += -(-published.bytes // _ALIGNMENT) * _ALIGNMENT
    return slots, offset


def pack(bucket: Sequence[Published], slots: Sequence[Slot], buffer: Tensor) -> None:
    """Copy the tensors into a buffer of bytes."""
    for published, slot in zip(bucket, slots, strict=True):
        view(slot, buffer).copy_(published.tensor.detach())


def view(slot: Slot, buffer: Tensor) -> Tensor:
    """The tensor of a slot, in place. buffer: [bytes] uint8."""
    dtype = getattr(torch, slot.dtype)
    count = torch.Size(slot.shape).numel() * torch.empty(0, dtype=dtype).element_size()
    return buffer[slot.offset : slot.offset + count].view(dtype).view(slot.shape)


def to_json(slots: Sequence[Slot]) -> str:
    """The packing list as text, for routes that carry text alone."""
    return json.dumps([[slot.names, slot.dtype, slot.shape, slot.offset] for slot in slots])


def from_json(text: str) -> list[Slot]:
    """What to_json wrote."""
    return [Slot(tuple(names), dtype, tuple(shape), offset) for names, dtype, shape, offset in json.loads(text)]

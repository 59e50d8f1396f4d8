"""A bucket of weights in memory that two processes of one machine see: a file in a file system that lives in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lightrft_strategy.engines.sync.buckets import layout, pack, to_json
from lightrft_strategy.engines.sync.published import Published

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory. Elsewhere, and where it is missing, the folder for temporary files does."""


@contextmanager
def shared_bucket(bucket: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """(path, packing list) of a bucket another process may map; the file is gone when the block ends."""
    slots, size = layout(bucket)
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.NamedTemporaryFile(prefix="lightrft-", dir=folder) as file:
        file.truncate(max(1, size))
        pack(bucket, slots, mapped(file.name))
        yield file.name, to_json(slots)


def mapped(path: str) -> Tensor:
    """[bytes] uint8: a file as a tensor that shares its memory."""
    size = Path(path).stat().st_size
    return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)

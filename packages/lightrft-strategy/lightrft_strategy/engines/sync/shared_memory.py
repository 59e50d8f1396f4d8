"""A bucket of weights in memory that two processes of one machine see: a file in a file system that lives in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from lightrft_strategy.engines.sync.buckets import layout, pack, to_json
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import SyncError

PREFIX = "lightrft-"

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory. Elsewhere, and where it is missing, the folder for temporary files does."""


@contextmanager
def shared_bucket(bucket: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """(path, packing list) of a bucket another process may map; the file is gone when the block ends."""
    slots, size = layout(bucket)
    folder = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    _sweep(folder)
    with tempfile.NamedTemporaryFile(prefix=f"{PREFIX}{os.getpid()}-", dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            raise SyncError(
                f"{folder} has no room for {size / 2**20:.0f} MiB of weights ({error.strerror}): enlarge it (docker's "
                "--shm-size), or set --vllm_sync_backend gloo"
            ) from error
        pack(bucket, slots, mapped(file.name))
        yield file.name, to_json(slots)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed in a hand-over have left."""
    for path in folder.glob(f"{PREFIX}[0-9]*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            with suppress(OSError):
                path.unlink()


def mapped(path: str) -> Tensor:
    """[bytes] uint8: a file as a tensor that shares its memory."""
    size = Path(path).stat().st_size
    return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)

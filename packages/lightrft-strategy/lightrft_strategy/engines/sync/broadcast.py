"""Weights sent to workers in other processes, on this machine or another, through a process group of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore  # type: ignore[attr-defined]


class Channel:
    """A group beside whatever groups a process has. Rank 0 is the trainer and holds the store at host:port.

    Raises RuntimeError (from torch) if the others do not come, or do not take part, within `seconds`.
    """

    def __init__(self, host: str, port: int, rank: int, world_size: int, backend: str, seconds: float) -> None:
        timeout = timedelta(seconds=seconds)
        self.store = TCPStore(host, port, world_size, is_master=rank == 0, timeout=timeout, wait_for_workers=False)
        store = PrefixStore("lightrft_weights", self.store)
        self.group: Any
        if backend == "nccl":
            from torch.distributed import ProcessGroupNCCL

            options = ProcessGroupNCCL.Options()
            options._timeout = timeout
            self.group = ProcessGroupNCCL(store, rank, world_size, options)
        else:
            self.group = ProcessGroupGloo(store, rank, world_size, timeout)
        self.device = torch.accelerator.current_accelerator() if backend == "nccl" else torch.device("cpu")

    def send(self, buffer: Tensor) -> None:
        """Rank 0: give a buffer of bytes to all others. Returns when it is on its way whole."""
        self.group.broadcast(buffer.to(self.device), 0).wait()

    def take(self, size: int) -> Tensor:
        """All others: the [size] bytes rank 0 sends."""
        buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
        self.group.broadcast(buffer, 0).wait()
        return buffer

"""Real processes with a gloo group among them, which run one function after another for the tests."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...forked import a_pipe, start


class Processes:
    """The ranks of a run, which live until `close`."""

    def __init__(self, world_size: int, folder: Path) -> None:
        self.world_size, self.folder, self.started = world_size, folder, 0
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []

    def run(self, function: Callable[..., Any], *args: Any, seconds: float = 300) -> list[Any]:
        """What function(*args) returned on each rank. All are killed if one fails or takes longer."""
        if not self.processes:
            self._start()
        try:
            for pipe in self.pipes:
                pipe.send((function, args))
            results = []
            for rank, pipe in enumerate(self.pipes):
                assert pipe.poll(seconds), f"rank {rank} of {self.world_size} is still at it after {seconds} s"
                results.append(pipe.recv())
            failed = [result for result, fine in results if not fine]
            assert not failed, "\n".join(failed)
        except BaseException:
            self._kill()
            raise
        return [result for result, _ in results]

    def close(self) -> None:
        """Let all of them end by themselves. Raises AssertionError if one does not end well."""
        try:
            for pipe in self.pipes:
                pipe.send(None)
            for process in self.processes:
                process.join(240)
            assert [process.exitcode for process in self.processes] == [0] * len(self.processes)
        finally:
            self._kill()

    def _start(self) -> None:
        self.started += 1
        store = self.folder / f"store{self.world_size}_{self.started}"
        for rank in range(self.world_size):
            ours, theirs = a_pipe()
            self.processes.append(start(_serve, rank, self.world_size, str(store), theirs))
            theirs.close()
            self.pipes.append(ours)

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.processes, self.pipes = [], []


def _serve(rank: int, world_size: int, store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    while (task := pipe.recv()) is not None:
        function, args = task
        try:
            pipe.send((function(*args), True))
        except BaseException:  # noqa: BLE001
            pipe.send((f"rank {rank} of {world_size}: {traceback.format_exc()}", False))
    dist.barrier()
    dist.destroy_process_group()

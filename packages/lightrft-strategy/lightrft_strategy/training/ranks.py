"""The processes of a run as torchrun starts them, and what they tell one another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from lightrft_core import Metrics, OneRank, Ranks
from lightrft_core.protocols import T
from lightrft_strategy.devices import device

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_START = "lightrft/start"
_LOOK_SECONDS = 0.2


class TorchRanks:
    """Core's Ranks over the default process group of torch.distributed; what is gathered travels through host memory.

    Everything is done in the order of the ranks, so that all of them end up with the same bits.
    per_learner: so many neighbours compute every micro-batch together. Raises ValueError if it leaves a rank over.
    """

    def __init__(self, per_learner: int = 1) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        if self.world_size % per_learner:
            raise ValueError(f"{self.world_size} ranks are no multiple of the {per_learner} that compute together")
        self.learner, self.learners = self.rank // per_learner, self.world_size // per_learner

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks, rank after rank. They are pickled, so tensors among them belong on the CPU."""
        parts: list[list[T]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        """The metrics of all ranks as one."""
        together = Metrics()
        for part in self.gather([metrics]):
            together.merge(part)
        return together.result()


@contextmanager
def open_ranks(timeout: timedelta, per_learner: int = 1) -> Iterator[Ranks]:
    """The ranks that torchrun started, this process being one of them; or this process alone if it was started plainly.

    timeout: how long a rank waits for the others before it gives up. per_learner: as for TorchRanks. Where there is an
    accelerator, each rank of a machine takes the one of its local rank. Raises ValueError if the environment or the
    machine does not fit.
    """
    if "RANK" not in os.environ and os.environ.get("WORLD_SIZE", "1") == "1":
        yield OneRank()
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE', 'not set')}, but {', '.join(missing)} is not set: start the "
            "run with torchrun, which sets all of them"
        )
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backends = _backends(int(os.environ["LOCAL_RANK"]))
    store = of_this_start(launch_store(timeout, keeps=rank == 0), rank, world_size, timeout)
    dist.init_process_group(backends, store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield TorchRanks(per_learner)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def launch_store(timeout: timedelta, *, keeps: bool = False) -> Store:
    """A connection to what the launcher's processes have in common.

    keeps: whether this process is to hold the store, should the launcher not.
    """
    of_launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(  # type: ignore[attr-defined]
        address, port, is_master=keeps and not of_launcher, timeout=timeout, wait_for_workers=False, multi_tenant=True
    )


def of_this_start(store: Store, rank: int, world_size: int, timeout: timedelta) -> Store:
    """A part of the store for processes that were started together: every one of them calls it.

    A launcher that starts them again hands the same store on, with the addresses of processes that are gone, and of
    several launchers each counts its own restarts alone (TORCHELASTIC_RESTART_COUNT). So rank 0 gives the start a name,
    which each other rank takes once rank 0 has seen this very process come to it. Raises TimeoutError if it has not.
    """
    mine = uuid4().hex
    if rank == 0:
        store.set(_START, mine)
        others = [f"{mine}:{other}" for other in range(1, world_size)]
        seen = store.multi_get(others) if others else []  # waits for them
        store.set(f"{mine}:seen", b" ".join(seen).decode())
        return PrefixStore(mine, store)
    asked, deadline = "", time.monotonic() + timeout.total_seconds()
    while time.monotonic() < deadline:
        name = store.get(_START).decode()
        if name != asked:
            store.set(f"{name}:{rank}", mine)
            asked = name
        if store.check([f"{name}:seen"]) and mine in store.get(f"{name}:seen").decode():
            return PrefixStore(name, store)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"rank {rank} has waited {timeout.total_seconds():g} s for rank 0 and all others to start")


def first_fault(faults: Sequence[str]) -> str:
    """The first of the ranks' faults, with its rank if there are several ranks; "" if no rank has one."""
    found = next(((rank, fault) for rank, fault in enumerate(faults) if fault), None)
    if found is None:
        return ""
    return f"rank {found[0]}: {found[1]}" if len(faults) > 1 else found[1]


def _backends(local_rank: int) -> str:
    """What carries tensors of the CPU and of the accelerator, which this process takes."""
    where = device()
    if where.type == "cpu":
        return "gloo"
    if local_rank >= torch.accelerator.device_count():
        raise ValueError(
            f"this process is number {local_rank} on its machine, which shows {torch.accelerator.device_count()} "
            "accelerators: start at most as many processes a machine (torchrun --nproc_per_node)"
        )
    torch.accelerator.set_device_index(local_rank)
    return f"cpu:gloo,{where.type}:{dist.get_default_backend_for_device(where)}"

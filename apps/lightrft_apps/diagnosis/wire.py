"""How fast, and whether at all, the processes of a run can talk to each other."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from lightrft_apps.diagnosis.findings import PATIENCE, Finding
from lightrft_apps.diagnosis.probe import begin, end, wait
from lightrft_core import Ranks
from lightrft_strategy.devices import device
from lightrft_strategy.training.ranks import TorchRanks

LARGE = 4 * 2**20
"""Float32 numbers of the large message: 16 MiB."""
SLOW_SECONDS, SLOW_BYTES = 0.01, 5e7
"""A small message that takes longer, and fewer bytes a second in a large one, are remarked upon."""
_OFTEN, _SELDOM = 20, 3

_PROGRAM = "from lightrft_apps.diagnosis.wire import main; main()"


@dataclass(frozen=True)
class Measured:
    """seconds: of an all-reduce of one number. rate: bytes a second of a large one, of each process. right: their
    results. hosts: the machines. backend: what carries them, and between which devices."""

    world_size: int
    seconds: float
    rate: float
    right: bool
    hosts: list[str]
    backend: str


def measure(ranks: Ranks, where: torch.device) -> Measured:
    """Add numbers up over all ranks, in the memory of this device; every rank calls it."""
    small, large = torch.ones(1, device=where), torch.ones(LARGE, device=where)
    dist.all_reduce(small)
    right = bool(small.item() == ranks.world_size)
    seconds = _timed(small, _OFTEN)
    dist.all_reduce(large)
    right = right and bool((large == ranks.world_size).all())
    rate = LARGE * 4 / _timed(large, _SELDOM)
    hosts = ranks.gather([socket.gethostname()])
    rights = ranks.gather([right])
    carrier = f"{dist.get_default_backend_for_device(where)} ({where.type})"
    return Measured(ranks.world_size, seconds, rate, all(rights), list(dict.fromkeys(hosts)), carrier)


def among_ranks(ranks: Ranks) -> Iterator[Finding]:
    """Of the processes that a launcher has started."""
    yield from findings(measure(ranks, device()))


def among_children(count: int, seconds: float) -> Iterator[Finding]:
    """Of so many processes of this machine, over its loopback interface, by their processors: two of them need no
    accelerator each."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    children = [begin(_PROGRAM, environment={**shared, "RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(count)]
    try:
        answer = wait(children[0], seconds)
    finally:
        for child in children[1:]:
            end(child)
    if answer.late:
        yield Finding("network", "note", f"{count} processes that are to talk to each other: {answer.why}", PATIENCE)
    elif answer.why:
        advice = "see the firewall and the loopback interface; GLOO_SOCKET_IFNAME names the interface to use"
        yield Finding("network", "bad", f"{count} processes cannot talk to each other: {answer.why}", advice)
    else:
        yield from findings(Measured(**answer.said))


def findings(measured: Measured) -> Iterator[Finding]:
    """What the numbers mean."""
    slow = measured.seconds > SLOW_SECONDS or measured.rate < SLOW_BYTES
    where = ", ".join(measured.hosts)
    if not measured.right:
        yield Finding(
            "network", "bad", f"{measured.world_size} processes on {where} add up wrongly over {measured.backend}"
        )
        return
    yield Finding(
        "network",
        "note" if slow else "well",
        f"{measured.world_size} processes on {where} over {measured.backend}: {measured.seconds * 1e6:.0f} us for a "
        f"number, {measured.rate / 1e6:.0f} MB/s for {LARGE * 4 / 2**20:.0f} MiB",
        "is it the interface you meant? GLOO_SOCKET_IFNAME (NCCL_SOCKET_IFNAME) names it" if slow else "",
    )


def main() -> None:
    """One of the processes of `among_children`."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    ranks = TorchRanks()
    said: dict[str, Any] = vars(measure(ranks, torch.device("cpu")))
    dist.barrier()
    dist.destroy_process_group()
    if ranks.rank == 0:
        sys.stdout.write(json.dumps(said) + "\n")


def _timed(tensor: torch.Tensor, times: int) -> float:
    """Seconds of one all-reduce."""
    dist.barrier()
    tensor.zero_()
    began = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(tensor)
    if tensor.device.type != "cpu":
        torch.accelerator.synchronize()
    return (time.perf_counter() - began) / times

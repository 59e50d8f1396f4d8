"""Ranks as torchrun starts them: what they tell one another, in which order, and what they say when started wrongly."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
import torch.distributed as dist

from lightrft_core import Metrics, OneRank
from lightrft_strategy.training import TorchRanks, open_ranks
from lightrft_strategy.training.ranks import first_fault, of_this_start
from lightrft_strategy.training.whole import add_up

from ...forked import a_pipe, start

TIMEOUT = timedelta(seconds=60)


def exchange() -> tuple[list[Any], dict[str, float]]:
    ranks, metrics = TorchRanks(), Metrics()
    metrics.mean("m", [float(ranks.rank)] * (ranks.rank + 1))
    metrics.max("x", [float(-ranks.rank)])
    if ranks.rank == 1:
        metrics.mean("of one", [3.0])
    items = [f"{ranks.rank}.{i}" for i in range(ranks.rank)]
    tensors = ranks.gather([torch.full((2,), ranks.rank)])
    return ranks.gather(items) + [tensor.tolist() for tensor in tensors], ranks.reduce(metrics)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_items_come_rank_after_rank_and_metrics_are_merged_as_if_of_one(processes, world: int) -> None:
    expected = [f"{rank}.{i}" for rank in range(world) for i in range(rank)] + [[rank] * 2 for rank in range(world)]
    together = Metrics()
    for rank in range(world):
        together.mean("m", [float(rank)] * (rank + 1))
    for items, metrics in processes(world).run(exchange):
        assert items == expected
        assert metrics == together.result() | {"x": 0.0} | ({"of one": 3.0} if world > 1 else {})


def summed(bucket_bytes: int) -> list[list[float]]:
    """Tensors of several precisions and shapes, each with the number of its rank in it, added up in buckets."""
    rank = dist.get_rank()
    shapes = [((3,), torch.float32), ((2, 2), torch.float32), ((1,), torch.float64), ((0,), torch.float64)]
    tensors = [torch.full(shape, 10.0**i + rank, dtype=dtype) for i, (shape, dtype) in enumerate(shapes)]
    add_up(tensors, bucket_bytes)
    return [tensor.flatten().tolist() for tensor in tensors]


@pytest.mark.parametrize("bucket_bytes", [1, 20, 2**20])
def test_gradients_are_added_up_whatever_the_bucket(processes, bucket_bytes: int) -> None:
    assert processes(2).run(summed, bucket_bytes) == [[[3.0] * 3, [21.0] * 4, [201.0], []]] * 2


def test_a_fault_is_the_first_ranks_and_names_it_only_among_several() -> None:
    assert first_fault(["", "late", "later"]) == "rank 1: late"
    assert first_fault(["alone"]) == "alone"
    assert first_fault(["", ""]) == ""


@pytest.mark.parametrize("world", [{}, {"WORLD_SIZE": "1"}])
def test_a_plain_start_is_one_rank(monkeypatch, world: dict[str, str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    with open_ranks(TIMEOUT) as ranks:
        assert isinstance(ranks, OneRank)
        assert not dist.is_initialized()


def test_half_an_environment_is_an_error_that_says_what_is_missing(monkeypatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    expected = r"WORLD_SIZE is 2, but RANK, LOCAL_RANK, MASTER_PORT is not set: start the run with torchrun"
    with pytest.raises(ValueError, match=expected), open_ranks(TIMEOUT):
        pass


def told_by_torchrun(environment: dict[str, str], said: Connection) -> None:
    """A process of a run, told of the others by its environment alone."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    with open_ranks(TIMEOUT) as ranks:
        said.send((type(ranks).__name__, ranks.rank, ranks.world_size, ranks.gather([ranks.rank])))


@contextmanager
def ranks_told(environments: Sequence[dict[str, str]]) -> Iterator[list[Connection]]:
    """Processes of a run in these environments, and what each says; killed with the block."""
    started, pipes = [], []
    try:
        for rank, environment in enumerate(environments):
            ours, theirs = a_pipe()
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(environments))}
            started.append(start(told_by_torchrun, {"GLOO_SOCKET_IFNAME": "lo"} | own | environment, theirs))
            pipes.append(ours)
        yield pipes
        for process in started:
            process.join(240)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()


def test_torchruns_environment_makes_a_group_that_ends_by_itself() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    with ranks_told([{"MASTER_ADDR": "localhost", "MASTER_PORT": port}] * 2) as pipes:
        for rank, said in enumerate(pipes):
            assert said.poll(240)
            assert said.recv() == ("TorchRanks", rank, 2, [0, 1])


@pytest.mark.parametrize("restarts", [(0, 0), (1, 0), (0, 1)], ids=str)
def test_ranks_started_again_meet_in_the_launchers_store_however_each_launcher_counts(
    restarts: tuple[int, int],
) -> None:
    """Of two torchruns, the one whose rank died counts the restart; the other may not."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    launcher = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for counts in [(0, 0), restarts, restarts]:
        environments = [launcher | {"TORCHELASTIC_RESTART_COUNT": str(count)} for count in counts]
        with ranks_told(environments) as pipes:
            for rank, said in enumerate(pipes):
                assert said.poll(TIMEOUT.total_seconds()), "it waits for processes that are gone"
                assert said.recv() == ("TorchRanks", rank, 2, [0, 1])


def test_a_rank_that_waits_for_rank_0_in_vain_says_so() -> None:
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    of_this_start(store, 0, 1, TIMEOUT)
    with pytest.raises(TimeoutError, match=r"rank 3 has waited 0\.5 s for rank 0 and all others to start"):
        of_this_start(store, 3, 4, timedelta(seconds=0.5))

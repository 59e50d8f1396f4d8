"""Stacks of other processes: of one that is blocked in C too, and never by a signal that would end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lightrft_strategy.training import stacks
from lightrft_strategy.training.pulse import Pulse
from lightrft_strategy.training.stacks import Frame

from ...forked import a_pipe, start

HOLDS_THE_LOCK = """
import ctypes, faulthandler, signal, sys
faulthandler.register(signal.SIGUSR1, file=open(sys.argv[1], "ab", buffering=0), all_threads=True)
def stuck():
    mutex, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    c.pthread_mutex_lock(mutex)
    print("ready", flush=True)
    c.pthread_mutex_lock(mutex)
stuck()
"""
"""Blocks in C without ever letting another thread of Python's run."""


@contextmanager
def started(program: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_process_that_is_blocked_in_c_with_python_s_lock_shows_its_stack(tmp_path: Path) -> None:
    file = tmp_path / "stack.txt"
    with started(HOLDS_THE_LOCK, str(file)) as process:
        for _ in range(2):
            (frames,) = stacks.parse(stacks.ask(process.pid, file, 20)).values()
            assert [frame.function for frame in frames] == ["stuck", "<module>"]
        os.kill(process.pid, signal.SIGSTOP)
        assert stacks.ask(process.pid, file) == ""


def test_a_process_that_does_not_expect_the_signal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "stack.txt").touch()
    with started("print('ready', flush=True)\nimport time\ntime.sleep(300)") as process:
        assert stacks.ask(process.pid, tmp_path / "stack.txt", 0.5) == ""
        assert process.poll() is None
    assert stacks.ask(process.pid, tmp_path / "stack.txt") == ""


def test_a_reward_s_worker_shows_its_stack_in_memory(tmp_path: Path) -> None:
    from lightrft_rewards import RewardPool, Scoring

    (tmp_path / "own.py").write_text("def score(prompts, responses, labels):\n    return [0.0] * len(responses)\n")
    with RewardPool(Scoring(function=f"{tmp_path / 'own.py'}:score"), num_workers=2):
        found = list(stacks.helpers(os.getpid()))
        assert len(found) == 2
        for pid, memory in found:
            *_, frames = stacks.parse(stacks.ask(pid, memory, 20)).values()
            assert frames[-1].function in ("<module>", "_run_module_as_main") and "main" in {f.function for f in frames}
            assert all(frame.of_a_library for frame in frames), "it waits for work, in no user's code"


def test_a_dump_is_read_thread_by_thread() -> None:
    dump = (
        "Thread 0x00007f01 (most recent call first):\n  <no Python frame>\n\n"
        'Current thread 0x00007f02 [pool] (most recent call first):\n  File "/a b/c.py", line 3 in f\n'
        '  File "<frozen runpy>", line ??? in g\n'
    )
    assert stacks.parse(dump) == {0x7F01: [], 0x7F02: [Frame("/a b/c.py", 3, "f"), Frame("<frozen runpy>", 0, "g")]}
    assert stacks.parse("") == {}


def test_a_collective_is_known_by_its_innermost_call() -> None:
    import torch.distributed.distributed_c10d as inside

    collective, user = Frame(inside.__file__, 5, "all_reduce"), Frame("/home/u/train.py", 5, "main")
    assert stacks.waits_for_ranks([collective, user]) and not stacks.waits_for_ranks([user, collective])
    assert collective.words() == "torch/distributed/distributed_c10d.py:5 in all_reduce"
    assert user.words() == "train.py:5 in main"
    assert collective.of_a_library and not user.of_a_library


RECORDED = {
    "waiting in a sliced forward pass": (
        "torch/_ops.py:__call__ torch/distributed/_functional_collectives.py:wait_tensor "
        "torch/distributed/tensor/_redistribute.py:redistribute_local_tensor train.py:step",
        True,
    ),
    "waiting in a sliced backward pass": (
        "torch/_ops.py:redispatch torch/_library/autograd.py:forward_no_grad torch/_ops.py:__call__ "
        "torch/distributed/_functional_collectives.py:all_reduce torch/autograd/function.py:apply",
        True,
    ),
    "waiting for a layer of ZeRO's third stage": (
        "deepspeed/runtime/zero/partition_parameters.py:wait "
        "deepspeed/runtime/zero/partitioned_param_coordinator.py:fetch_sub_module",
        True,
    ),
    "waiting for the keys of the rank before": (
        "lightrft_strategy/ring.py:arrived lightrft_strategy/ring.py:forward torch/autograd/function.py:apply",
        True,
    ),
    "computing what is seen of them": ("lightrft_strategy/ring.py:forward torch/autograd/function.py:apply", False),
    "multiplying its own slice": ("torch/_ops.py:__call__ torch/distributed/tensor/_dispatch.py:dispatch", False),
    "computing on what has come": ("torch/distributed/_functional_collectives.py:__torch_dispatch__", False),
    "an operator of its own": ("torch/_ops.py:__call__ train.py:step torch/distributed/run.py:main", False),
    "going backward": ("torch/autograd/graph.py:_engine_run_backward torch/_tensor.py:backward train.py:step", False),
    "cutting a model up": ("deepspeed/runtime/zero/partition_parameters.py:partition", False),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_collective_is_known_through_what_dispatches_it(name: str) -> None:
    calls, waits = RECORDED[name]
    frames = [
        Frame(f"/v/site-packages/{file}", 1, function) for file, function in (c.split(":") for c in calls.split())
    ]
    assert stacks.waits_for_ranks(frames) is waits


def sliced(rank: int, meeting: str, late: str, said: Connection) -> None:
    """One of two ranks that hold a slice each of two layers; rank 1 comes to one of the passes only after long."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 4))
    parallelize_module(layers, init_device_mesh("cpu", (2,)), {"0": ColwiseParallel(), "1": RowwiseParallel()})
    pulse = Pulse()

    def watch() -> None:
        time.sleep(5)
        said.send((pulse.in_collective(), [frame.words() for frame in pulse.stack()[:4]]))

    rows = torch.ones(2, 4, requires_grad=True)
    if rank == 0:
        threading.Thread(target=watch).start()
    elif late == "forward":
        time.sleep(60)
    total = layers(rows).sum()
    if rank == 1:
        time.sleep(60)
    total.backward()
    time.sleep(60)


@pytest.mark.proof
@pytest.mark.parametrize("late", ["forward", "backward"])
def test_a_rank_that_waits_within_a_sliced_model_is_seen_to(late: str, tmp_path: Path) -> None:
    ours, theirs = a_pipe(duplex=False)
    ranks = [start(sliced, rank, str(tmp_path / "meeting"), late, theirs) for rank in range(2)]
    try:
        assert ours.poll(120)
        waits, calls = ours.recv()
        assert waits, calls
    finally:
        for process in ranks:
            process.kill()
            process.join()

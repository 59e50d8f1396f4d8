"""A rank that is gone is named with what it did; one that is done, or merely slow, is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
import torch.distributed as dist

from lightrft_strategy.training import heartbeat
from lightrft_strategy.training.heartbeat import EXIT_CODE, Heartbeat

from ...forked import a_pipe, start

OFTEN = 0.5
"""Seconds between two beats of the processes here."""


def beat(port: int, rank: int, phase: str, ready: Connection, errors: Connection) -> None:
    """A rank of two that is in a phase for good."""
    os.dup2(errors.fileno(), sys.stderr.fileno())
    heartbeat.BEAT_SECONDS = OFTEN
    own = Heartbeat(dist.TCPStore("127.0.0.1", port, is_master=False), rank, 2)
    own.phase = phase
    ready.send("ready")
    time.sleep(300)


@pytest.fixture
def store() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def own(store: dist.TCPStore) -> Iterator[Heartbeat]:
    beat = Heartbeat(store, 0, 2)
    yield beat
    beat.close()


def say(store: dist.TCPStore, pid: int, phase: str, host: str = "", count: int = 1) -> None:
    """Let rank 1 be heard."""
    beat = {"rank": 1, "host": host or socket.gethostname(), "pid": pid, "phase": phase, "count": count}
    store.set("lightrft/beat/1", json.dumps(beat))


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_that_has_ended_is_lost_and_its_phase_is_told(
    store: dist.TCPStore, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 60.0)
    own = Heartbeat(store, 0, 2)
    say(store, ended, "judge of step 3")
    assert own.lost() == f"rank 1 (process {ended} on {socket.gethostname()}), last seen in: judge of step 3"
    own.close()


def test_the_others_know_a_rank_s_phase_as_soon_as_it_changes(
    store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 60.0)
    own = Heartbeat(store, 0, 2)
    try:
        for phase, count in (("judge of step 1", 2), ("judge of step 1", 2), ("estimate of step 1", 3)):
            own.phase = phase
            heard = json.loads(store.get("lightrft/beat/0"))
            assert (heard["phase"], heard["count"]) == (phase, count)
    finally:
        own.close()
    assert json.loads(store.get("lightrft/beat/0"))["phase"] == "done"


def test_a_rank_that_said_it_is_done_is_not_lost(own: Heartbeat, store: dist.TCPStore, ended: int) -> None:
    say(store, ended, "done")
    assert own.lost() == ""


def test_a_rank_that_has_not_begun_to_beat_is_not_lost(own: Heartbeat) -> None:
    assert own.lost() == ""


def test_a_process_that_runs_is_not_lost_however_long_it_is_silent(
    own: Heartbeat, store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.0)
    say(store, os.getpid(), "sample of step 1")
    assert [own.lost(), own.lost()] == ["", ""]


def test_a_rank_elsewhere_is_lost_once_it_has_been_silent_for_long(
    store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 60.0)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.2)
    own = Heartbeat(store, 0, 2)
    say(store, 1, "sample of step 1", host="elsewhere", count=1)
    assert own.lost() == ""
    time.sleep(0.3)
    say(store, 1, "sample of step 1", host="elsewhere", count=2)
    assert own.lost() == ""
    time.sleep(0.3)
    assert "on elsewhere), last seen in: sample of step 1" in own.lost()
    own.close()


def test_a_rank_waiting_for_a_killed_one_ends_by_itself_and_says_why(store: dist.TCPStore) -> None:
    said, errors = a_pipe(duplex=False)
    ranks = []
    try:
        for rank, phase in enumerate(("estimate of step 7", "optimise of step 7")):
            ready, theirs = a_pipe(duplex=False)
            ranks.append(start(beat, store.port, rank, phase, theirs, errors))
            assert ready.poll(60) and ready.recv() == "ready"
        errors.close()
        ranks[0].join(2 * OFTEN)
        assert ranks[0].is_alive()
        ranks[1].kill()
        ranks[1].join()
        ranks[0].join(30)
        assert ranks[0].exitcode == EXIT_CODE
        told = os.read(said.fileno(), 10_000).decode()
    finally:
        for process in ranks:
            process.kill()
    assert f"rank 0: ended in estimate of step 7, because a rank is lost: rank 1 (process {ranks[1].pid}" in told
    assert "last seen in: optimise of step 7" in told

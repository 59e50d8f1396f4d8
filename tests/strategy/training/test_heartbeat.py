"""A rank that is gone is named with what it did; one that is done, or merely slow, is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from lightrft_strategy.training import heartbeat, last_word
from lightrft_strategy.training.beats import Beat
from lightrft_strategy.training.heartbeat import EXIT_CODE, Heartbeat
from lightrft_strategy.training.pulse import Pulse

from ...forked import a_pipe, start

OFTEN = 0.5
"""Seconds between two beats of the processes here."""


def beat(port: int, rank: int, phase: str, ready: Connection, errors: Connection) -> None:
    """A rank of two that is in a phase for good."""
    os.dup2(errors.fileno(), sys.stderr.fileno())
    heartbeat.BEAT_SECONDS = OFTEN
    pulse = Pulse()
    Heartbeat(pulse, rank, 2, dist.TCPStore("127.0.0.1", port, is_master=False))
    pulse.doing(phase, 7)
    ready.send("ready")
    time.sleep(900)


@pytest.fixture
def store() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def own(store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """Rank 0 of two, which looks for the other when it is asked to, and not by itself meanwhile."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    beat = Heartbeat(Pulse(), 0, 2, store)
    yield beat
    beat.close()


def say(store: dist.TCPStore, pid: int, phase: str, step: int, **more: Any) -> None:
    """Let rank 1 be heard."""
    pulse = Pulse()
    pulse.doing(phase, step)
    beat = Beat.of(pulse, 1, 2, more.pop("count", 1))
    store.set("lightrft/beat/1", replace(beat, pid=pid, **more).text())


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_that_has_ended_is_lost_and_its_phase_is_told(
    store: dist.TCPStore, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    own = Heartbeat(Pulse(), 0, 2, store)
    say(store, ended, "judge", 3)
    assert own.lost() == f"rank 1 (process {ended} on {socket.gethostname()}), last seen in: judge of step 3"
    own.close()


def test_the_others_know_a_rank_s_phase_as_soon_as_it_changes(
    store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    pulse = Pulse()
    own = Heartbeat(pulse, 0, 2, store)
    try:
        for phase, count in (("judge", 2), ("estimate", 3)):
            pulse.doing(phase, 1)
            heard = json.loads(store.get("lightrft/beat/0"))
            assert (heard["phase"], heard["step"], heard["count"]) == (phase, 1, count)
    finally:
        own.close()
    assert json.loads(store.get("lightrft/beat/0"))["state"] == "done"


def test_a_process_of_another_machine_of_the_same_name_is_not_looked_for_here(
    own: Heartbeat, store: dist.TCPStore, ended: int
) -> None:
    boot, numbering = Beat.of(Pulse(), 1, 2, 1).machine.split()
    for machine in (f"another {numbering}", f"{boot} {int(numbering) + 1}"):
        say(store, ended, "judge", 3, machine=machine)
        assert own.lost() == ""


def test_a_rank_that_said_it_is_done_is_not_lost(own: Heartbeat, store: dist.TCPStore, ended: int) -> None:
    say(store, ended, "judge", 3, state="done")
    assert own.lost() == ""


def test_a_rank_that_has_not_begun_to_beat_is_not_lost(own: Heartbeat) -> None:
    assert own.lost() == ""


def test_a_process_that_runs_is_not_lost_however_long_it_is_silent(
    own: Heartbeat, store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.0)
    say(store, os.getpid(), "sample", 1)
    assert [own.lost(), own.lost()] == ["", ""]


def test_a_rank_elsewhere_is_lost_once_it_has_been_silent_for_long(
    store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.2)
    own = Heartbeat(Pulse(), 0, 2, store)
    say(store, 1, "sample", 1, host="elsewhere", count=1)
    assert own.lost() == ""
    time.sleep(0.3)
    say(store, 1, "sample", 1, host="elsewhere", count=2)
    assert own.lost() == ""
    time.sleep(0.3)
    assert "on elsewhere), last seen in: sample of step 1" in own.lost()
    own.close()


def test_a_disk_that_stalls_holds_up_neither_the_run_nor_what_the_others_hear(
    store: dist.TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, written = threading.Event(), list[str]()

    def stall(folder: Path, beat: Beat) -> None:
        assert disk.wait(300)
        written.append(beat.phase)

    monkeypatch.setattr(last_word, "write_beat", stall)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    monkeypatch.setattr(heartbeat, "_PATIENCE", 0.2)
    own = Heartbeat(Pulse(), 0, 2, store)
    own.keep(tmp_path, 1800)
    began = time.monotonic()
    for phase in ("judge", "estimate", "optimise"):
        own.pulse.doing(phase, 1)
        assert json.loads(store.get("lightrft/beat/0"))["phase"] == phase
    own.close("ValueError: x")
    assert time.monotonic() - began < 60 and written == [], "the disk would hold it up for longer"
    disk.set()
    assert own._file is not None and own._file.close(240)
    assert len(written) == 2 and written[-1] == "optimise", "of all that piled up, the last"


def test_the_words_of_many_ranks_are_had_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        """A store that has the words of all but rank 63, until `whole`."""

        asked, whole = 0, False

        def check(self, keys: list[str]) -> bool:
            self.asked += 1
            return self.whole or "lightrft/beat/63" not in keys

        def multi_get(self, keys: list[str]) -> list[bytes]:
            self.asked += 1
            assert self.check(keys), "it would wait for a word that nobody has said"
            self.asked -= 1
            ranks = [int(key.rpartition("/")[2]) for key in keys]
            return [replace(Beat.of(Pulse(), rank, 64, 1), host="elsewhere").text().encode() for rank in ranks]

        def set(self, key: str, word: str) -> None: ...

    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 600.0)
    counting = Counting()
    alone = Heartbeat(Pulse(), 0, 1)
    monkeypatch.setattr(alone, "store", counting)
    alone.world_size = 64
    assert alone.lost() == "" and sorted(alone._last) == [*range(1, 63)]
    counting.whole = True
    assert alone.lost() == "" and sorted(alone._last) == [*range(1, 64)]
    counting.asked = 0
    assert alone.lost() == "" and counting.asked == 1
    alone.close()


def test_a_rank_waiting_for_a_killed_one_ends_by_itself_and_says_why(store: dist.TCPStore) -> None:
    said, errors = a_pipe(duplex=False)
    ranks = []
    try:
        for rank, phase in enumerate(("estimate", "optimise")):
            ready, theirs = a_pipe(duplex=False)
            ranks.append(start(beat, store.port, rank, phase, theirs, errors))
            assert ready.poll(240) and ready.recv() == "ready"
        errors.close()
        ranks[0].join(2 * OFTEN)
        assert ranks[0].is_alive()
        ranks[1].kill()
        ranks[1].join()
        ranks[0].join(240)
        assert ranks[0].exitcode == EXIT_CODE
        told = os.read(said.fileno(), 10_000).decode()
    finally:
        for process in ranks:
            process.kill()
    assert f"rank 0: ended in estimate of step 7, because a rank is lost: rank 1 (process {ranks[1].pid}" in told
    assert "last seen in: optimise of step 7" in told

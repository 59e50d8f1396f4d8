"""Who is alive among the ranks, and what each is doing: so that a lost rank is named instead of waited for."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import psutil
from torch.distributed.distributed_c10d import Store

from lightrft_strategy.training.ranks import launch_store

BEAT_SECONDS = 2.0
SILENT_SECONDS = 30.0
"""After so long without a beat a rank on another machine counts as lost."""
EXIT_CODE = 70
"""Of a rank that ends because another is lost."""


@dataclass(frozen=True)
class Beat:
    """What a rank last said; the reader sees by `count` that it still says something."""

    rank: int
    host: str
    pid: int
    phase: str
    count: int

    def words(self) -> str:
        return f"rank {self.rank} (process {self.pid} on {self.host}), last seen in: {self.phase}"


class Heartbeat:
    """Tells the other ranks that this one is alive, from a thread; ends this process once another is lost.

    A collective that waits for a lost rank cannot be interrupted, so the process is ended where it stands, with a
    message and EXIT_CODE. store: a connection of its own to the store of the ranks.
    """

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        self._phase = "starting"
        self._count, self._beating = 0, threading.Lock()
        self._last: dict[int, tuple[Beat, float]] = {}
        self._stop = threading.Event()
        self._before = signal.signal(signal.SIGTERM, self._terminated)
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @classmethod
    def of_launch(cls, rank: int, world_size: int) -> Heartbeat:
        """Over the store that torchrun's environment variables name."""
        return cls(launch_store(timedelta(seconds=60)), rank, world_size)

    @property
    def phase(self) -> str:
        """What this rank does. The others know of a change at once: it may be lost before the next beat."""
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            with suppress(RuntimeError):
                self._beat()

    def close(self) -> None:
        """Tell the others that this rank is done, which is not the same as lost."""
        self._stop.set()
        self._thread.join()
        signal.signal(signal.SIGTERM, self._before)
        self.phase = "done"

    def lost(self, seconds: float = 0.0) -> str:
        """Which ranks are lost, "" if none is; a moment may pass until the end of one shows."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                gone = self._silent()
            except RuntimeError as error:
                keeper = self._last.get(0)
                where = keeper[0].words() if keeper else "rank 0"
                return f"{where}; it held the ranks together ({error})"
            if gone or time.monotonic() >= deadline:
                return "; ".join(beat.words() for beat in gone)
            time.sleep(BEAT_SECONDS / 4)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(RuntimeError):
                self._beat()
            gone = self.lost()
            if gone and not self._stop.is_set():
                self._end(gone)

    def _end(self, gone: str) -> None:
        sys.stderr.write(f"rank {self.rank}: ended in {self.phase}, because a rank is lost: {gone}\n")
        sys.stderr.flush()
        os._exit(EXIT_CODE)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """The launcher ends all ranks when one is lost: say which, if that is why."""
        gone = self.lost(BEAT_SECONDS)
        if gone:
            self._end(gone)
        raise SystemExit(128 + number)

    def _silent(self) -> list[Beat]:
        """Ranks that have ended without saying so, or have not been heard of for too long."""
        now, gone = time.monotonic(), []
        for rank in range(self.world_size):
            if rank == self.rank or not self.store.check([_key(rank)]):
                continue
            beat = Beat(**json.loads(self.store.get(_key(rank))))
            last, since = self._last.get(rank, (beat, now))
            since = now if beat.count != last.count else since
            self._last[rank] = (beat, since)
            here = beat.host == socket.gethostname()
            if beat.phase != "done" and (not _runs(beat.pid) if here else now - since > SILENT_SECONDS):
                gone.append(beat)
        return gone

    def _beat(self) -> None:
        with self._beating:
            self._count += 1
            beat = Beat(self.rank, socket.gethostname(), os.getpid(), self.phase, self._count)
            self.store.set(_key(self.rank), json.dumps(vars(beat)))


def _key(rank: int) -> str:
    return f"lightrft/beat/{rank}"


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""Who is alive among the ranks, and what each is doing: a lost or a stuck rank is named instead of waited for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import IO
from uuid import uuid4

import psutil
from torch.distributed.distributed_c10d import PrefixStore, Store

from lightrft_core import Ranks
from lightrft_strategy.training import stacks
from lightrft_strategy.training.beats import Beat, State, beat_file, stack_file
from lightrft_strategy.training.last_word import LastWord
from lightrft_strategy.training.pulse import Pulse
from lightrft_strategy.training.ranks import launch_store

BEAT_SECONDS = 2.0
SILENT_SECONDS = 30.0
"""After so long without a beat a rank on another machine counts as lost."""
EXIT_CODE = 70
"""Of a rank that ends because another is lost, or because one is stuck."""

_STALL = "lightrft/stall"
_LOOKS = 4
"""How often at least it is looked for progress while a stall's time-out passes."""
_LINES = 6
_PATIENCE = 5.0
"""Seconds that the end of a rank waits for its threads: the one that beats, and the one that writes to the disk."""


class Heartbeat:
    """Tells the other ranks, and whoever reads its file, what this one does, from a thread; ends this process once
    another is lost, or any gets on no more.

    A process that waits for a lost rank, or that is stuck itself, cannot be interrupted, so it is ended where it
    stands, with a message and EXIT_CODE.
    """

    def __init__(self, pulse: Pulse, rank: int = 0, world_size: int = 1, store: Store | None = None) -> None:
        """store: a connection of its own to the store of the ranks; None where this process is the only one."""
        self.pulse, self.rank, self.world_size, self.store = pulse, rank, world_size, store
        self.stall_timeout: float | None = None
        self._folder: Path | None = None
        self._file: LastWord | None = None
        self._dump: IO[bytes] | None = None
        self._interval = BEAT_SECONDS
        self._state: State = "running"
        self._why = ""
        self._count, self._beating, self._ending = 0, threading.RLock(), threading.RLock()
        self._last: dict[int, tuple[Beat, float]] = {}
        self._silent: dict[int, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._before = signal.signal(signal.SIGTERM, self._terminated) if store is not None else None
        pulse.changed = self._told
        self._told()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @classmethod
    def of_launch(cls, pulse: Pulse, ranks: Ranks) -> Heartbeat:
        """Over the store that torchrun's environment variables name, apart from other starts' words; on every rank."""
        apart = ranks.gather([uuid4().hex])[0]
        return cls(pulse, ranks.rank, ranks.world_size, PrefixStore(apart, launch_store(timedelta(seconds=60))))

    def keep(self, folder: Path, stall_timeout: float) -> None:
        """From now on write what this rank does into a folder, its stacks too when asked by a signal, and end the run
        once a rank makes no progress for so many seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        file = stack_file(folder, self.rank)
        file.write_bytes(b"")
        self._dump = file.open("ab", buffering=0)
        stacks.answer_to_signal(self._dump)
        self.stall_timeout, self._folder, self._file = stall_timeout, folder, LastWord(folder)
        self._interval = min(BEAT_SECONDS, stall_timeout / _LOOKS)
        self._told()

    def close(self, failure: str = "") -> None:
        """Tell the others that this rank is done, which is not the same as lost.

        failure: why it ends, "" for a good end, which leaves no file behind.
        """
        self._stop.set()
        self._thread.join(_PATIENCE)
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        self.pulse.changed = _nothing
        self._state, self._why = ("failed", failure) if failure else ("done", "")
        self._told()
        if self._dump is not None and self._folder is not None:
            stacks.answer_no_more()
            self._dump.close()
            if self._written() and not failure:
                for file in (beat_file(self._folder, self.rank), stack_file(self._folder, self.rank)):
                    file.unlink(missing_ok=True)
                with suppress(OSError):
                    self._folder.rmdir()

    def lost(self, seconds: float = 0.0) -> str:
        """Which ranks are lost, "" if none is; a moment may pass until the end of one shows."""
        if self.store is None:
            return ""
        deadline = time.monotonic() + seconds
        while True:
            try:
                gone = self._gone()
            except RuntimeError as error:
                keeper = self._last.get(0)
                where = keeper[0].words() if keeper else "rank 0"
                return f"{where}; it held the ranks together ({error})"
            if gone or time.monotonic() >= deadline:
                return "; ".join(beat.words() for beat in gone)
            time.sleep(BEAT_SECONDS / 4)

    def stalled(self) -> str:
        """Which rank gets on no more, as the first of the ranks to see it said; "" if none is known to."""
        with suppress(RuntimeError):
            if self.store is not None and self.store.check([_STALL]):
                return self.store.get(_STALL).decode()
        return ""

    def missing(self) -> str:
        """Why others did not come to a collective: what those that have ended ended of, or what those do that have not
        come yet; "" if nothing is known."""
        if self.store is not None:
            with suppress(RuntimeError):
                self._gone()
        beats = [self._last[rank][0] for rank in sorted(self._last)]
        ended = [
            f"rank {beat.rank} (process {beat.pid} on {beat.host}) ended in {beat.doing}: {beat.why}"
            for beat in beats
            if beat.state == "failed"
        ]
        return "; ".join(ended or [_since(beat) for beat in beats if beat.state == "running" and not beat.collective])

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stop.wait(self._interval):
            # What passes while the whole run does not, a suspended one, is no stall.
            most, now = 3 * self._interval, time.monotonic()
            passed, looked = min(now - looked, most), now
            self.pulse.look(most)
            self._told()
            gone = self.lost()
            self._listen(passed)
            stuck = self.stalled() or self._find_stall()
            if self._stop.is_set():
                return
            if stuck:
                self._end(stuck)
            if gone:
                self._end(f"a rank is lost: {gone}")

    def _end(self, why: str) -> None:
        with self._ending:
            sys.stderr.write(f"rank {self.rank}: ended in {self._beat().doing}, because {why}\n")
            sys.stderr.flush()
            self._state, self._why = "failed", why
            self._told()
            if self.stalled():
                # The others look for what is said of it, in the store that rank 0 may hold: it goes last.
                time.sleep(self._interval * (3 if self.rank == 0 else 2))
            self._written()
            os._exit(EXIT_CODE)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """The launcher ends all ranks when one is lost: say which, if that is why."""
        if stuck := self.stalled():
            self._end(stuck)
        if gone := self.lost(BEAT_SECONDS):
            self._end(self.stalled() or f"a rank is lost: {gone}")
        raise SystemExit(128 + number)

    def _listen(self, passed: float) -> None:
        """Note for how long each of the others has given no sign. passed: seconds since the last call."""
        for rank, (beat, _) in self._last.items():
            count, silent = self._silent.get(rank, (beat.count, 0.0))
            self._silent[rank] = (beat.count, silent + passed if beat.count == count else 0.0)

    def _find_stall(self) -> str:
        """Whether this rank gets on no more, or another of this machine gives no sign; told to the others."""
        if self.stall_timeout is None:
            return ""
        why, mine = "", self._beat()
        if mine.step is not None and not mine.collective and mine.idle > self.stall_timeout:
            why = f"{_since(mine)} (--stall_timeout {self.stall_timeout:g}); {self._stack(mine)}"
        for rank, (beat, _) in self._last.items():
            silent = self._silent[rank][1]
            if beat.here and beat.state == "running" and beat.step is not None and silent > self.stall_timeout:
                why = f"{_silence(beat, silent)} (--stall_timeout {self.stall_timeout:g}); {self._stack(beat)}"
        if why and self.store is not None:
            with suppress(RuntimeError):
                return self.store.compare_set(_STALL, "", why).decode()
        return why

    def _stack(self, beat: Beat) -> str:
        """Where a rank is stuck, in words: the processes that judge for it first, if they do not only wait."""
        assert self._folder is not None
        file = stack_file(self._folder, beat.rank)
        asked = stacks.parse(stacks.ask(beat.pid, file)).get(beat.thread, [])
        stood = [frame.words() for frame in asked] or list(beat.where)
        told = [f"it stands at {' < '.join(stood[:_LINES])}"] if stood else []
        for pid, memory in stacks.helpers(beat.pid):
            dump = stacks.ask(pid, memory)
            for frames in list(stacks.parse(dump).values())[-1:]:
                if any(not frame.of_a_library for frame in frames):
                    told.insert(0, f"its process {pid} stands at {' < '.join(f.words() for f in frames[:_LINES])}")
                with suppress(OSError), file.open("a", encoding="utf-8") as stream:
                    stream.write(f"\nProcess {pid}:\n{dump}")
        return "; ".join([*told, f"all stacks are in {file}"])

    def _gone(self) -> list[Beat]:
        """Ranks that have ended without saying so, or have not been heard of for too long."""
        now, gone = time.monotonic(), []
        assert self.store is not None
        for beat in self._heard(self.store):
            last, since = self._last.get(beat.rank, (beat, now))
            since = now if beat.count != last.count else since
            self._last[beat.rank] = (beat, since)
            lost = beat.process() is None if beat.here else now - since > SILENT_SECONDS
            if beat.state == "running" and lost:
                gone.append(beat)
        return gone

    def _heard(self, store: Store) -> list[Beat]:
        """The last words of the others that have spoken, in one request once all of them have."""
        silent = [rank for rank in range(self.world_size) if rank != self.rank and rank not in self._last]
        if silent and not store.check([_key(rank) for rank in silent]):
            silent = [rank for rank in silent if not store.check([_key(rank)])]
        else:
            silent = []
        spoken = [rank for rank in range(self.world_size) if rank != self.rank and rank not in silent]
        return [Beat.read(said) for said in store.multi_get([_key(rank) for rank in spoken])] if spoken else []

    def _beat(self) -> Beat:
        more = {"state": self._state, "why": self._why, "stall_timeout": self.stall_timeout}
        return Beat.of(self.pulse, self.rank, self.world_size, self._count, **more)

    def _told(self) -> None:
        """Say what this rank does: at once when that changes, for it may be lost before the next beat."""
        with self._beating:
            self._count += 1
            beat = self._beat()
            if self.store is not None:
                with suppress(RuntimeError):
                    self.store.set(_key(self.rank), beat.text())
            if self._file is not None:
                self._file.say(beat)

    def _written(self) -> bool:
        """Whether the last word is on the disk, or there is none to be; a moment is waited for it."""
        return self._file is None or self._file.close(_PATIENCE)


def _key(rank: int) -> str:
    return f"lightrft/beat/{rank}"


def _since(beat: Beat) -> str:
    """Such as "rank 1 (process 12 on host) makes no progress for 31 s in judge of step 3, where it waits for ..."."""
    waits = f", where it waits for {beat.waiting_for}" if beat.waiting_for else ""
    who = f"rank {beat.rank} (process {beat.pid} on {beat.host})"
    return f"{who} makes no progress for {beat.idle:.0f} s in {beat.doing}{waits}"


def _silence(beat: Beat, seconds: float) -> str:
    process = beat.process()
    status = "gone" if process is None else process.status()
    why = "its process is stopped (SIGSTOP)" if status == psutil.STATUS_STOPPED else f"its process is {status}"
    who = f"rank {beat.rank} (process {beat.pid} on {beat.host})"
    return f"{who} gives no sign for {seconds:.0f} s, last seen in {beat.doing}: {why}"


def _nothing() -> None:
    pass

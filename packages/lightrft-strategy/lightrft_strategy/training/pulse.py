"""What a process of a run is doing, what it waits for, and whether it gets on."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from lightrft_strategy.training.stacks import Frame, stack_of, waits_for_ranks

Sign: TypeAlias = Literal["moves", "signs", "bounded"]
"""How a wait shows that it gets on: its thread computes or is somewhere else at every look; it calls `sign`, whatever
its thread does (it polls); or a time-out of its own ends it, so that it always counts as getting on."""

COMPUTES = 0.02
"""A thread that is this share of the time on a processor gets on."""
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Awaited:
    """Something that is waited for. what: it, in words that follow "waits for"."""

    what: str
    by: Sign = "moves"


@dataclass(eq=False)
class _Wait:
    """since: Unix time at which it began, or something came last."""

    awaited: Awaited
    since: float
    thread: int = field(default_factory=threading.get_ident)
    task: int = field(default_factory=threading.get_native_id)


class Pulse:
    """Of the thread that makes it, and of what it lets other threads do.

    phase, step: what it does; step is None before the first one. since: Unix time at which that began.
    progress: Unix time at which it was last seen to get on. idle: seconds without progress, those left out in which the
    whole process did not run. changed: called after the phase has changed.
    """

    def __init__(self) -> None:
        self.phase = "starting"
        self.step: int | None = None
        self.since = self.progress = time.time()
        self.idle = 0.0
        self.changed: Callable[[], None] = _nothing
        self.thread, self._task = threading.get_ident(), threading.get_native_id()
        self._base: _Wait | None = None
        self._waits: list[_Wait] = []
        self._signs, self._looked = 0, time.monotonic()
        self._seen: dict[object, object] = {}
        self._spent: dict[int, float] = {}
        self._computing = Counter[int]()
        self._lock = threading.RLock()  # a signal's handler asks it while the thread it interrupts may hold it

    def doing(self, phase: str, step: int | None = None, awaited: Awaited | None = None) -> None:
        """Begin another phase. awaited: what it waits for, unless it says so itself by `waiting`."""
        with self._lock:
            self.phase, self.step, self.since = phase, step, time.time()
            self._base = None if awaited is None else _Wait(awaited, self.since, self.thread, self._task)
            self._signs += 1
        self.changed()

    @contextmanager
    def waiting(self, what: str, by: Sign = "moves") -> Iterator[Callable[[], None]]:
        """While the block runs, its thread waits for something; it may call what it is given when that gets on."""
        wait = _Wait(Awaited(what, by), time.time())
        with self._lock:
            self._waits.append(wait)
            self._signs += 1
        try:
            yield lambda: self._came(wait)
        finally:
            with self._lock:
                self._waits.remove(wait)
                self._signs += 1

    @property
    def now_doing(self) -> str:
        """Such as "judge of step 3"."""
        return doing_words(self.phase, self.step)

    def awaited(self) -> tuple[str, float, bool] | None:
        """What is waited for, since when in vain (Unix time), and whether a time-out of its own ends all of it; None
        for nothing but the process's own work."""
        waits = self._active()
        if not waits:
            return None
        what, bounded = "; ".join(wait.awaited.what for wait in waits), all(w.awaited.by == "bounded" for w in waits)
        return what, min(wait.since for wait in waits), bounded

    def stack(self) -> list[Frame]:
        """Where its thread stands, innermost call first."""
        return stack_of(self.thread)

    def in_collective(self) -> bool:
        """Whether its thread waits for other ranks."""
        return waits_for_ranks(self.stack())

    def look(self, most: float) -> None:
        """See whether there was progress since the last look. most: seconds that may count as passed since then."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        seen = {"signs": self._signs} | dict(self._evidence(passed))
        if seen != self._seen:
            self._seen, self.idle, self.progress = seen, 0.0, time.time()
        else:
            self.idle += min(passed, most)

    def _came(self, wait: _Wait) -> None:
        with self._lock:
            wait.since = time.time()
            self._signs += 1

    def _active(self) -> list[_Wait]:
        with self._lock:
            return list(self._waits) or [wait for wait in (self._base,) if wait]

    def _evidence(self, passed: float) -> Iterator[tuple[object, object]]:
        """What differs from look to look where something gets on."""
        for wait in self._active() or [_Wait(Awaited(""), self.since, self.thread, self._task)]:
            if wait.awaited.by == "bounded":
                yield wait, time.monotonic()
            elif wait.awaited.by == "moves":
                yield wait.thread, tuple(stack_of(wait.thread))
                yield ("computed", wait.task), self._computed(wait.task, passed)

    def _computed(self, task: int, passed: float) -> int:
        """How many looks have found that a thread had computed since the one before."""
        spent, before = _seconds(task), self._spent.get(task)
        self._spent[task] = spent
        self._computing[task] += before is None or spent - before >= COMPUTES * passed
        return self._computing[task]


def doing_words(phase: str, step: int | None) -> str:
    """Such as "judge of step 3"."""
    return phase if step is None else f"{phase} of step {step}"


def _seconds(task: int) -> float:
    """A thread's time on a processor, by its number in the kernel."""
    with suppress(OSError):
        numbers = Path(f"/proc/self/task/{task}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / _TICK
    return 0.0


def _nothing() -> None:
    pass

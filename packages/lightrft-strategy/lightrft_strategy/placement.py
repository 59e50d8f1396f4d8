"""Who has the devices when: the engine while answers are drawn, the trainer while it learns; memory at every border."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from lightrft_strategy.devices import device

GIB = 2**30
TRAINING = ("estimate", "optimise")
"""Phases in which nothing is sampled. The next `load_weights` wakes the engine again."""


class Sleeper(Protocol):
    """An engine that can give its memory back."""

    def sleep(self) -> None:
        """Give it back until the next weights come."""
        ...


class Rests(Protocol):
    """Something that is on the devices in some phases alone."""

    phases: frozenset[str]

    def place(self, phase: str) -> None:
        """Come for a phase that is one of them, and leave for one that is not."""
        ...


class Placement:
    """Runs the phases of a step; at the first training phase of a step the engine, if there is one, goes to sleep.

    say: told once what a sleeping engine could not give back. resting: what comes and goes with the phases.
    """

    def __init__(
        self,
        engine: Sleeper | None = None,
        say: Callable[[str], None] = lambda message: None,
        resting: Sequence[Rests] = (),
    ) -> None:
        self.engine, self.say, self.resting = engine, say, resting
        self.numbers: dict[str, float] = {}
        self._awake, self._said = True, False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Bring on what a phase needs and take away the rest; note the memory in use before and after it."""
        self._move(name)
        self.numbers = {f"memory/{name}_before_gib": memory_in_use() / GIB} | self.numbers
        try:
            yield
        finally:
            self.numbers[f"memory/{name}_after_gib"] = memory_in_use() / GIB

    def take(self) -> dict[str, float]:
        """memory/* in GiB since the last call: before a phase's first and after its last run, and what sleep freed."""
        numbers, self.numbers = self.numbers, {}
        return numbers

    def _move(self, name: str) -> None:
        if name in TRAINING and self._awake and self.engine is not None:
            before = memory_in_use()
            self.engine.sleep()
            freed = self.numbers["memory/engine_freed_gib"] = (before - memory_in_use()) / GIB
            if device().type == "cpu" and not self._said:
                self.say(f"asleep, the engine gave back {freed:.1f} GiB: on the CPU engines keep weights and cache")
                self._said = True
        self._awake = name not in TRAINING
        for part in sorted(self.resting, key=lambda part: name in part.phases):
            part.place(name)
        if self.resting and device().type != "cpu":
            torch.accelerator.memory.empty_cache()


def memory_in_use() -> int:
    """Bytes in use: of the device by its driver's count, or on the CPU resident in this process and its children."""
    where = device()
    if where.type != "cpu":
        free, total = torch.accelerator.get_memory_info(where)
        return int(total - free)
    return sum(_resident(process) for process in _family(os.getpid()))


def _family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(task).split():
            yield from _family(int(child))


def _resident(process: int) -> int:
    pages = _read(Path(f"/proc/{process}/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _read(path: Path) -> str:
    """A file of /proc, empty if its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""

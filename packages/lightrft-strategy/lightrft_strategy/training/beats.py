"""A rank's last word of itself: what it does, since when, whether it gets on. A file, and in the ranks' store."""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psutil

from lightrft_strategy.training.pulse import Pulse, doing_words

State: TypeAlias = Literal["running", "done", "failed"]
DEEPEST = 12
"""Calls of a stack that a beat holds, the innermost ones."""


@dataclass(frozen=True)
class Beat:
    """What a rank last said.

    machine: which start of a machine's kernel and which of its process numberings (PID namespaces) pid is of: hosts may
    share a name, and containers a kernel.
    started: when the process began, in the kernel's ticks since its own start, which no setting of a clock changes: it
    tells the process from a later one of the same number.
    thread: the one that trains, as `threading.get_ident` numbers it. phase: "judge"; step: None before the first.
    since: Unix time at which the phase began. waiting_for: within the phase, None for nothing; waiting_since: Unix time
    at which that began, or at which something came of it last.
    bounded: a time-out of its own ends that wait, so that it counts as progress.
    progress: Unix time of the last sign that it gets on; idle: seconds without one. collective: it waits for other
    ranks. where: its innermost calls, innermost first, in words. beat: Unix time of this word; count: its number.
    state: "failed" after an error, which `why` holds. stall_timeout: seconds without progress after which it gives up.
    """

    rank: int
    world_size: int
    host: str
    machine: str
    pid: int
    started: int
    thread: int
    phase: str
    step: int | None
    since: float
    waiting_for: str | None
    waiting_since: float | None
    bounded: bool
    progress: float
    idle: float
    collective: bool
    where: tuple[str, ...]
    beat: float
    count: int
    state: State = "running"
    why: str = ""
    stall_timeout: float | None = None

    @classmethod
    def of(cls, pulse: Pulse, rank: int, world_size: int, count: int, **more: Any) -> Beat:
        """A word of this process's."""
        awaited, now = pulse.awaited(), time.time()
        return cls(
            rank=rank,
            world_size=world_size,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            thread=pulse.thread,
            phase=pulse.phase,
            step=pulse.step,
            since=pulse.since,
            waiting_for=awaited and awaited[0],
            waiting_since=awaited and awaited[1],
            bounded=awaited is not None and awaited[2],
            progress=pulse.progress,
            idle=pulse.idle,
            collective=pulse.in_collective(),
            where=tuple(frame.words() for frame in pulse.stack()[:DEEPEST]),
            beat=now,
            count=count,
            **more,
        )

    @classmethod
    def read(cls, content: str | bytes) -> Beat:
        """Of what `text` gave. Raises ValueError for anything else."""
        said = json.loads(content)
        if not isinstance(said, dict):
            raise ValueError("it holds no object")
        known = {item.name for item in fields(cls)}
        if missing := sorted(known - said.keys()):
            raise ValueError(f"it does not say {', '.join(missing)}")
        beat = cls(**{name: said[name] for name in known} | {"where": tuple(said["where"])})
        _require_numbers(said)
        return beat

    def text(self) -> str:
        """As JSON, in a line."""
        return json.dumps(asdict(self))

    @property
    def doing(self) -> str:
        """Such as "judge of step 3"."""
        return doing_words(self.phase, self.step)

    def words(self) -> str:
        return f"rank {self.rank} (process {self.pid} on {self.host}), last seen in: {self.doing}"

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine, whose number means the same here."""
        return self.host == socket.gethostname() and self.machine == _machine()

    def process(self) -> psutil.Process | None:
        """It, if it runs on this machine: not another that has got its number since."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid) if self.here else None
            if process and _started(self.pid) == self.started and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def beat_file(folder: Path, rank: int) -> Path:
    """Where a rank keeps its last word."""
    return folder / f"rank_{rank}.json"


def stack_file(folder: Path, rank: int) -> Path:
    """Where a rank writes its stacks when it is asked for them."""
    return folder / f"rank_{rank}.stack.txt"


def write_beat(folder: Path, beat: Beat) -> None:
    """Put a rank's word in the place of its last one."""
    file = beat_file(folder, beat.rank)
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(beat.text(), encoding="utf-8")
    unfinished.replace(file)


@functools.cache
def _machine() -> str:
    """Of this process; "" where the kernel does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> int:
    """When a process of this machine began, 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def _require_numbers(said: Mapping[str, Any]) -> None:
    for name in ("rank", "world_size", "pid", "started", "since", "progress", "idle", "beat", "count"):
        if not isinstance(said[name], int | float):
            raise ValueError(f"its {name} is no number")

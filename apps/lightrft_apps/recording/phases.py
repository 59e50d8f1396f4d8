"""How long each phase of a step takes and how much memory it needs at most."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIB = 2**30


class Phases:
    """Seconds and peak resident memory by phase since the last `take`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        _reset_peak()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.peaks[name] = max(self.peaks.get(name, 0.0), _peak())

    def take(self) -> dict[str, float]:
        """time/* in seconds, memory/* in GiB, and the machine's load; then begin anew."""
        wall, cpu = time.perf_counter(), time.process_time()
        numbers = {f"time/{name}": value for name, value in self.seconds.items()}
        numbers |= {
            "time/step": wall - self._wall,
            "time/cpu": cpu - self._cpu,
            "time/load_average": os.getloadavg()[0],
        }
        numbers |= {f"memory/{name}_peak_gib": value for name, value in self.peaks.items()}
        self.seconds, self.peaks, self._wall, self._cpu = {}, {}, wall, cpu
        return numbers


def _reset_peak() -> None:
    """Let the kernel's high-water mark of this process start again, where it allows that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    """High-water mark of resident memory in GiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / GIB

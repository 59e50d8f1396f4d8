"""Children that compute only when it is their turn: a line on stdin lets one step begin, a line on stdout ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class Turns:
    """A side's end of the line. Whatever else the process prints goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._began = time.perf_counter()

    def wait(self, finished: dict[str, Any]) -> None:
        """Report what has been done since the last turn, with its seconds; return when it is this side's turn again."""
        seconds = time.perf_counter() - self._began
        self._out.write(json.dumps(finished | {"seconds": seconds}) + "\n")
        self._out.flush()
        if not sys.stdin.readline():
            os._exit(0)
        self._began = time.perf_counter()


class Side:
    """The parent's end: a child process and what it and its descendants have used of the processors.

    Raises RuntimeError, with the end of the child's log, once the child is gone.
    """

    def __init__(self, name: str, words: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=Path(__file__).resolve().parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                start_new_session=True,
            )

    def ready(self) -> dict[str, Any]:
        """What the child said when it last waited for its turn."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
            raise RuntimeError(f"{self.name} ended before its turn; the end of {self.log}:\n{tail}")
        said: dict[str, Any] = json.loads(line)
        return said

    def step(self) -> dict[str, Any]:
        """One turn, with the cores that this side and that everybody else kept busy meanwhile."""
        stdin: TextIO | None = self.process.stdin
        assert stdin is not None
        machine, own = busy_seconds(), family_seconds(self.process.pid)
        start = time.perf_counter()
        stdin.write("\n")
        stdin.flush()
        said = self.ready()
        wall = time.perf_counter() - start
        own = family_seconds(self.process.pid) - own
        others = max(0.0, busy_seconds() - machine - own)
        return said | {"cores_own": own / wall, "cores_others": others / wall, "load_average": os.getloadavg()[0]}

    def resident_gib(self) -> float:
        """The most memory this side's main process ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 2**20

    def close(self) -> None:
        """End the child and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


def busy_seconds() -> float:
    """Processor seconds that all processes of the machine have used."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def family_seconds(process: int) -> float:
    """Processor seconds of a process and its living descendants, and of those they have waited for."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        tasks = [*Path(f"/proc/{process}/task").glob("*/children")]
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(family_seconds, children))

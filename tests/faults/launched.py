"""Runs of several processes under a launcher, any of which a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

CLOSE = {"rel": 2e-3, "abs": 2e-4}
"""Float32 through six steps of AdamW, whose first ones divide by tiny moments."""


@contextmanager
def begun(command: Sequence[str], environment: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[str]]:
    """A command, with what it prints in a pipe; it and all it has started are ended with the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                child.kill()
            process.kill()


def launched(words: list[str], *launcher: str, processes: int = 2) -> Any:
    """`lightrft launch` with so many processes."""
    return begun([sys.executable, "-m", "lightrft_apps", "launch", f"--nproc_per_node={processes}", *launcher, *words])


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, without what differs from time to time."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


def ranks_of(process: subprocess.Popen[str], folder: Path, step: int) -> list[psutil.Process]:
    """The ranks of a launched run, by rank, once it has finished a step."""
    deadline = time.monotonic() + 240
    while not (folder / "metrics.jsonl").exists() or len(metrics(folder)) <= step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = {}
    for launcher in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        if "RANK" not in launcher.environ():  # what a rank starts has it, too
            found |= {int(c.environ()["RANK"]): c for c in launcher.children() if "RANK" in c.environ()}
    return [found[rank] for rank in sorted(found)]


def alive(ranks: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended."""
    return [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]

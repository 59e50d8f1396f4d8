"""A tracker's own process: it follows metrics.jsonl until the run closes its input or is gone, then finishes.

The words of the command are the tracker's name; the first line of the input is what it is told of the run.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightrft_apps.config import LIBRARIES
from lightrft_apps.recording.following import JsonLines
from lightrft_apps.recording.trackers.tracker import Start, Tracked, Tracker

SECONDS = 0.5
"""Between two looks."""


def main() -> None:
    """Write for the tracker that the command names."""
    # tensorboardX takes in all of torch where it finds it, to draw tensors: seconds and memory that nothing here needs.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    name, parent = sys.argv[1], os.getppid()
    run = Tracked(**json.loads(sys.stdin.readline()))
    start: Start = importlib.import_module(f"lightrft_apps.recording.trackers.{name}").start
    with _alone(Path(run.identity), name):
        tracker: Tracker | None = None
        following, written, last = JsonLines(Path(run.metrics)), 0, False
        while not last:
            last = bool(select.select([sys.stdin], [], [], SECONDS)[0]) or os.getppid() != parent
            lines = following.lines()
            for line in lines[written:]:
                tracker = tracker or start(run)
                tracker.write(line["step"], numbers_of(line))
            written = len(lines)
        if tracker is not None:
            tracker.finish(Path(run.summary).exists())


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, but for its step."""
    return {name: value for name, value in line.items() if name != "step" and isinstance(value, (int, float))}


@contextmanager
def _alone(identity: Path, name: str) -> Iterator[None]:
    """Wait until the same tracker of the same run, stopped a moment ago, has written its last."""
    with identity.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, list(LIBRARIES).index(name))
        yield


if __name__ == "__main__":
    main()

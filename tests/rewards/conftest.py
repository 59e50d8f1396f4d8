"""What the reward tests share: a user's reward file, and the processes it leaves behind."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WriteFunction = Callable[..., str]


@pytest.fixture
def write_function(tmp_path: Path) -> WriteFunction:
    """Write a reward file and name its function: write_function(source, name="score") -> "file.py:score"."""

    def write(source: str, name: str = "score", file: str = "reward.py") -> str:
        path = tmp_path / file
        path.write_text(textwrap.dedent(source))
        return f"{path}:{name}"

    return write


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process ends within a minute. One that is dead but not yet reaped counts as ended."""

    def state(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"

    def wait(pid: int) -> bool:
        assert pid != os.getpid()
        patience = time.monotonic() + 60
        while time.monotonic() < patience:
            if state(pid) in ("gone", "Z", "X"):
                return True
            time.sleep(0.02)
        return False

    return wait

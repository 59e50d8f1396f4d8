"""Asks a process of its own, so that what crashes or hangs there is an answer and no accident."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LAST_LINES = 3


@dataclass(frozen=True)
class Answer:
    """What a process said. said: the JSON of its last line, None if it failed; why: of what, "" if it did not.

    late: it was not done in time.
    """

    said: Any
    why: str = ""
    late: bool = False


def ask(program: str, *words: str, seconds: float, environment: Mapping[str, str | None] | None = None) -> Answer:
    """Let a Python program run that prints JSON as its last line. It is ended, children and all, after so long."""
    return wait(begin(program, *words, environment=environment), seconds)


def begin(program: str, *words: str, environment: Mapping[str, str | None] | None = None) -> subprocess.Popen[str]:
    """The program's process, in a group of its own. environment: changes to ours, None for what is not to be there."""
    changed = os.environ | dict(environment or {})
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={name: value for name, value in changed.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def wait(process: subprocess.Popen[str], seconds: float) -> Answer:
    """What it says within so many seconds."""
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Answer(None, f"it was not done in {seconds:g} s", late=True)
    finally:
        end(process)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return Answer(None, f"it was killed by {name}{_last(errors)}")
    if process.returncode:
        return Answer(None, _last(errors).removeprefix(": ") or f"it ended with exit code {process.returncode}")
    try:
        return Answer(json.loads(out.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return Answer(None, "it said nothing that can be read")


def end(process: subprocess.Popen[str]) -> None:
    """Kill it, if it has not ended, with its children, and read the rest.

    Once it has been waited for, its number may be another's.
    """
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _last(errors: str) -> str:
    """The end of what it printed to standard error: of a traceback, the error alone."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    traceback = any(line.startswith("Traceback") for line in lines)
    shown = " / ".join(lines[-1:] if traceback else lines[-_LAST_LINES:])
    return f": {shown}" if shown else ""

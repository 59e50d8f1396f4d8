"""What the threads of a process are doing, asked of it from outside: even of one that is blocked in C.

Each process that takes part registers SIGNAL with `faulthandler`, whose handler is C and needs no lock of Python's.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

SIGNAL = signal.SIGUSR1
CHANNEL = "lightrft-stacks"
"""The memory file that a helper process (a reward's worker) writes its stacks to; found among its open files."""

_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+)[^\n]*\(most recent call first\):")
_FRAME = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')
_COLLECTIVE = re.compile(
    r"/torch/distributed/(?!tensor/_dispatch\.py|.*:__torch_dispatch__$)|/deepspeed/comm/|/deepspeed/runtime/zero/partition(_parameters|ed_param_\w+)\.py:wait$"
    r"|/lightrft_strategy/ring\.py:arrived$"
)
"""File and function of a thread's innermost call that is in a collective; dispatchers compute, too."""
_DISPATCH = re.compile(r"/torch/_ops\.py$|/torch/_library/|/torch/autograd/")
"""What stands between a collective that is an operator and who asks for it."""
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_OF_HELPERS = "/lightrft_rewards/"
_PAUSE = 0.02


@dataclass(frozen=True)
class Frame:
    """Where a call stands. line: 0 where it is not known."""

    file: str
    line: int
    function: str

    def words(self) -> str:
        """Such as ``reward.py:12 in score``."""
        found = next((root for root in _LIBRARY if self.file.startswith(root + os.sep)), None)
        shown = os.path.relpath(self.file, found) if found else Path(self.file).name
        return f"{shown.removeprefix('site-packages/')}:{self.line or '?'} in {self.function}"

    @property
    def of_a_library(self) -> bool:
        """Whether it is Python's own, installed, or what a helper process is made of: no user's code."""
        return self.file.startswith((*_LIBRARY, "<frozen")) or _OF_HELPERS in self.file


def stack_of(thread: int) -> list[Frame]:
    """The calls of a thread of this process, innermost first; empty if it has ended. thread: its `get_ident`."""
    frame: FrameType | None = sys._current_frames().get(thread)
    frames = []
    while frame is not None:
        frames.append(Frame(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
        frame = frame.f_back
    return frames


def waits_for_ranks(frames: Sequence[Frame]) -> bool:
    """Whether a thread with these calls, innermost first, is inside a collective."""
    inner = next((frame for frame in frames if not _DISPATCH.search(frame.file)), None)
    return inner is not None and bool(_COLLECTIVE.search(f"{inner.file}:{inner.function}"))


def parse(dump: str) -> dict[int, list[Frame]]:
    """The stacks of a dump of faulthandler's, innermost call first, by thread; a process's first thread comes last."""
    stacks: dict[int, list[Frame]] = {}
    calls: list[Frame] = []
    for line in dump.splitlines():
        if thread := _THREAD.match(line):
            calls = stacks[int(thread[1], 16)] = []
        elif frame := _FRAME.match(line):
            calls.append(Frame(frame[1], int(frame[2]) if frame[2].isdigit() else 0, frame[3]))
    return stacks


def answer_to_signal(file: IO[bytes]) -> None:
    """From now on let this process write the stacks of all its threads to the end of a file when it gets SIGNAL."""
    faulthandler.register(SIGNAL, file=file, all_threads=True)


def answer_no_more() -> None:
    """Forget about SIGNAL; what it did before is done again."""
    faulthandler.unregister(SIGNAL)


def ask(pid: int, file: Path, seconds: float = 2.0) -> str:
    """The dump that a process of this machine writes to the file, "" if it writes none in time.

    A process that does not answer to SIGNAL, which would end it, or that is stopped, is left alone.
    """
    if not _answers(pid) or _stopped(pid):
        return ""
    try:
        before = file.stat().st_size
        os.kill(pid, SIGNAL)
    except OSError:
        return ""
    deadline, size = time.monotonic() + seconds, before
    while time.monotonic() < deadline:
        time.sleep(_PAUSE)
        last, size = size, _size(file)
        if size == last > before:
            break
    try:
        return file.read_bytes()[before:].decode(errors="replace")
    except OSError:
        return ""


def helpers(pid: int) -> Iterator[tuple[int, Path]]:
    """The processes below one that write their stacks when asked, and where to."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(OSError):
                for descriptor in Path(f"/proc/{child.pid}/fd").iterdir():
                    with suppress(OSError):
                        if f"memfd:{CHANNEL}" in str(descriptor.readlink()):
                            yield child.pid, descriptor
                            break


def _answers(pid: int) -> bool:
    """Whether the process has a handler for SIGNAL."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (SIGNAL - 1) & 1)
    return False


def _stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return True


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0

"""A terminal of the tests: a command on a pseudo-terminal, what its screen shows, and a keyboard."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte
from tests.forked import start

COLUMNS, LINES = 100, 40
SECONDS = 180.0
"""That something may take to appear."""


def _run(tty: str, words: list[str], environment: dict[str, str]) -> None:
    """The command, with the pseudo-terminal as its own."""
    import sys

    import torch

    from lightrft_apps.main import main

    os.setsid()
    terminal = os.open(tty, os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for stream in (0, 1, 2):
        os.dup2(terminal, stream)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = ["lightrft", *words]
    main()


class ATerminal:
    """Runs `lightrft` on itself. Use as a context manager, which kills what still runs."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.screen = pyte.HistoryScreen(COLUMNS, LINES, history=2000)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        settings = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": ""} | environment
        self.process = start(_run, os.ttyname(slave), list(words), settings)
        self.slave = slave

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.join(10)
        os.close(self.slave)
        os.close(self.master)

    @property
    def shown(self) -> str:
        """What the screen shows, and what has left it at the top."""
        above = ["".join(line[x].data for x in range(COLUMNS)) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display]).rstrip()

    def type(self, text: str) -> None:
        """Press keys; \\r is Enter, \\x03 Ctrl-C, \\x04 Ctrl-D."""
        os.write(self.master, text.encode())

    def until(self, holds: Callable[[str], bool], seconds: float = SECONDS) -> str:
        """Wait until the screen is as it should be, and return it."""
        deadline = time.monotonic() + seconds
        while not holds(self.shown):
            assert time.monotonic() < deadline, f"this is what the screen shows:\n{self.shown}"
            self.read(0.05)
        return self.shown

    def prompted(self, holds: Callable[[str], bool] = lambda shown: True) -> str:
        """Wait until the screen is as it should be with the prompt back at its end, and return it."""
        return self.until(lambda shown: shown.endswith("\n>") and holds(shown))

    def read(self, seconds: float = SECONDS) -> bytes:
        """Take what comes next, b"" if nothing does within so many seconds."""
        if not select.select([self.master], [], [], seconds)[0]:
            return b""
        came = os.read(self.master, 65536)
        self.raw += came
        self.stream.feed(came)
        return came

    def ended(self) -> int | None:
        """The exit code once the command has ended; what it still writes is read."""
        deadline = time.monotonic() + SECONDS
        while self.process.exitcode is None and time.monotonic() < deadline:
            self.read(0.05)
        return self.process.exitcode

"""`lightrft chat --web` as a process whose page a browser opens."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.apps.chat.a_terminal import SECONDS, ATerminal


@contextmanager
def chat_on_a_page(*words: str) -> Iterator[tuple[ATerminal, str]]:
    """The process, and the address that it prints."""
    with ATerminal("chat", "--web", "--port", "0", *words) as terminal:
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(rb"http://127\.0\.0\.1:\d+/[\w-]+/", terminal.raw)):
            assert time.monotonic() < deadline, terminal.shown
            terminal.read(0.05)
        yield terminal, found[0].decode()

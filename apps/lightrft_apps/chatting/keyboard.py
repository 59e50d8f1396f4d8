"""A person's keyboard: lines with history and completion, and messages of several lines."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUOTES = '"""'
_WITH_A_FILE = ("/image ", "/audio ", "/video ", "/save ", "/load ")


def prompting(history: Path | None, commands: Sequence[str]) -> Callable[[], str]:
    """Reads one message at a time: Enter sends it, Alt-Enter and Enter within triple quotes begin a new line, Tab
    completes commands and names of files. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C.

    history: a file for it; None: it ends with the chat.
    """
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if unfinished(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(
        HTML("<ansigreen><b>&gt; </b></ansigreen>"),
        history=InMemoryHistory() if history is None else FileHistory(str(history)),
        key_bindings=keys,
        completer=_Completer(commands),
        complete_while_typing=False,
        multiline=True,
        prompt_continuation="  ",
    )
    return session.prompt


@contextmanager
def ctrl_d_waits(terminal: int) -> Iterator[None]:
    """Ctrl-D pressed while there is no prompt waits for the next one, as all keys do.

    A terminal makes it an end of input there, of which nobody would hear. terminal: its file descriptor.
    """
    before, changed = termios.tcgetattr(terminal), termios.tcgetattr(terminal)
    changed[-1][termios.VEOF] = bytes([os.fpathconf(terminal, "PC_VDISABLE")])
    termios.tcsetattr(terminal, termios.TCSANOW, changed)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def unfinished(text: str) -> bool:
    """Whether a message begins with triple quotes and does not end with them yet."""
    stripped = text.strip()
    return stripped.startswith(QUOTES) and not (len(stripped) >= 2 * len(QUOTES) and stripped.endswith(QUOTES))


class _Completer(Completer):
    def __init__(self, commands: Sequence[str]) -> None:
        self.commands, self.paths = commands, PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Names of commands at the beginning, of files behind those that take one."""
        text = document.text_before_cursor
        for beginning in _WITH_A_FILE:
            if text.startswith(beginning):
                rest = text.removeprefix(beginning)
                yield from self.paths.get_completions(Document(rest, len(rest)), complete_event)
        if text.startswith("/") and " " not in text:
            yield from (Completion(name, -len(text)) for name in self.commands if name.startswith(text))

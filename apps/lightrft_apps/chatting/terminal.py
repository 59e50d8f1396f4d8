"""A chat in the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lightrft_apps.chatting.commands import COMMANDS, Done, End, run_command
from lightrft_apps.chatting.conversation import ChatError, Exchange
from lightrft_apps.chatting.keyboard import QUOTES, ctrl_d_waits, prompting
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.showing import columns, judgement, question, said, under
from lightrft_apps.drawing.harmless import harmless

Read = Callable[[], str]
"""The next thing that somebody types; raises EOFError at the end, KeyboardInterrupt for a line that was given up."""


class Terminal:
    """Shows a session and takes what is typed."""

    def __init__(self, session: Session, console: Console) -> None:
        self.session, self.console = session, console
        self.names = [speaker.name for speaker in session.speakers]

    def run(self, read: Read) -> None:
        """Until whoever types has had enough."""
        self.greet()
        while True:
            try:
                line = read()
            except EOFError:
                return
            except KeyboardInterrupt:
                self.console.print("Ctrl-D ends the chat", style="dim")
                continue
            try:
                self.take(unquoted(line))
            except End:
                return
            except KeyboardInterrupt:
                self.console.print("stopped", style="dim")
            except ChatError as error:
                self.console.print(Text("! ", "bold red") + said(str(error)), soft_wrap=True)

    def greet(self) -> None:
        """Say who is there."""
        who = " and ".join(self.names)
        self.console.print(Text.assemble(("lightrft chat ", "bold"), said(who), ("  /help", "dim")), soft_wrap=True)

    def take(self, line: str) -> None:
        """One question or command. Raises ChatError if it cannot be."""
        if not line.strip() and not self.session.attachments:
            return
        if line.startswith("/") and not line.startswith("//"):
            with self._heard() as hear:
                done = run_command(self.session, line, hear)
            self._show(done)
            return
        text = line[1:] if line.startswith("//") else line
        with self._heard() as hear:
            exchange = self.session.ask(text, hear)
        self._finish(exchange)

    def _show(self, done: Done) -> None:
        if done.text:
            self.console.print(said(done.text, "dim"), soft_wrap=True)
        if done.answered is not None:
            self._finish(done.answered)
        if done.judged is not None:
            for name, answer in zip(self.names, done.judged.answers, strict=True):
                of = said(f"{name}: ", "bold") if len(self.names) > 1 else Text()
                for line in judgement(answer.verdict) if answer.verdict else []:
                    self.console.print(of + line, soft_wrap=True)
        if done.replayed:
            for exchange in self.session.conversation.exchanges:
                self.console.print(question(exchange), soft_wrap=True)
                if len(self.names) == 1:
                    self.console.print(said(exchange.answers[0].text), soft_wrap=True)
                self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        """What is shown of an answer once it is whole and judged; of several, all of it."""
        if len(self.names) > 1:
            texts = [answer.text for answer in exchange.answers]
            self.console.print(columns(self.names, texts, exchange.answers))
            return
        for line in under(exchange.answers[0]):
            self.console.print(line, soft_wrap=True)

    @contextmanager
    def _heard(self) -> Iterator[Callable[[int, str], None]]:
        """Who speaks alone is written out as he speaks; several are shown beside each other until they are done."""
        if len(self.names) == 1:
            file, begun = self.console.file, list[str]()

            def hear(place: int, piece: str) -> None:
                begun.append(piece)
                file.write(harmless(piece))
                file.flush()

            try:
                yield hear
            finally:
                if begun and not begun[-1].endswith("\n"):
                    file.write("\n")
                    file.flush()
            return
        texts = [""] * len(self.names)
        with Live(console=self.console, transient=True, refresh_per_second=12, redirect_stdout=False) as live:

            def beside(place: int, piece: str) -> None:
                texts[place] += piece
                live.update(columns(self.names, texts))

            yield beside


def unquoted(line: str) -> str:
    """What was typed, without the quotes around several lines."""
    text = line.strip()
    if len(text) >= 2 * len(QUOTES) and text.startswith(QUOTES) and text.endswith(QUOTES):
        return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return line


def history_file() -> Path | None:
    """Where what was typed is kept for the next time: below XDG_STATE_HOME, for its owner's eyes.

    None, and a line on standard error, where nothing can be kept there.
    """
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "lightrft"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "chat_history"
        path.touch(mode=0o600)
        path.open("a+b").close()
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"warning: what you type is not kept for the next time (XDG_STATE_HOME): {error}\n")
        return None
    return path


@contextmanager
def typed() -> Iterator[Read]:
    """Reads what a person types, with history and completion; lines of standard input where nobody types."""
    if not sys.stdin.isatty():
        yield _line
        return
    with ctrl_d_waits(sys.stdin.fileno()):
        yield prompting(history_file(), [f"/{name}" for name in COMMANDS])


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")

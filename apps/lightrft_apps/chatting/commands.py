"""What can be typed in a chat besides questions: /name, and what follows it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightrft_apps.chatting.conversation import Attachment, ChatError, Exchange
from lightrft_apps.chatting.saved import read_chat, to_json, write_chat
from lightrft_apps.chatting.session import Hear, Session
from lightrft_apps.chatting.settings import changed, described, settings
from lightrft_apps.config.reading.text import as_text

MOST_BYTES = 256 * 2**20
"""Of a file that is shown or played."""


class End(Exception):
    """Raised by /quit."""


@dataclass(frozen=True)
class Done:
    """What a command did: text to tell, an exchange answered or judged anew. replayed: the chat is another one."""

    text: str = ""
    answered: Exchange | None = None
    judged: Exchange | None = None
    replayed: bool = False


@dataclass(frozen=True)
class Command:
    """usage: how it is typed, "" after the name if it takes nothing. run: (session, what follows, hear) -> Done."""

    usage: str
    about: str
    run: Callable[[Session, str, Hear], Done]


def run_command(session: Session, line: str, hear: Hear) -> Done:
    """Do what a line that begins with / says. Raises ChatError if it cannot be done, End for /quit."""
    word, _, rest = line[1:].strip().partition(" ")
    name = word.lower()
    if name not in COMMANDS:
        raise ChatError(f"there is no command /{name}: /help lists them all; write // to begin a question with a slash")
    command = COMMANDS[name]
    if rest.strip() and not command.usage:
        raise ChatError(f"/{name} takes nothing after it")
    return command.run(session, rest.strip(), hear)


def label_of(text: str) -> Any:
    """A label as somebody wrote it: JSON where it is an object or a list, as some rewards want it, else its text."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text or None


def _attach(modality: str, session: Session, rest: str, hear: Hear) -> Done:
    path = _path(rest, modality)
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ChatError(f"{path} has {size} bytes, more than the {MOST_BYTES} that are read")
        content = path.read_bytes()
    except OSError as error:
        raise ChatError(f"{path} cannot be read: {error.strerror}") from error
    session.attach(Attachment(modality, path.name, content))
    waiting = ", ".join(attachment.name for attachment in session.attachments)
    return Done(f"with the next question: {waiting}")


def _system(session: Session, rest: str, hear: Hear) -> Done:
    if not rest:
        return Done(_systems(session))
    session.set_system(None if rest == "null" else rest)
    return Done("no system message any more" if rest == "null" else "the system message is set")


def _systems(session: Session) -> str:
    systems = session.conversation.systems
    if not any(systems):
        return "there is no system message"
    if len(set(systems)) == 1:
        return f"system: {systems[0]}"
    names = [speaker.name for speaker in session.speakers]
    return "\n".join(f"system of {name}: {system or '(none)'}" for name, system in zip(names, systems, strict=True))


def _save(session: Session, rest: str, hear: Hear) -> Done:
    path = _path(rest, "save")
    names = [speaker.name for speaker in session.speakers]
    write_chat(path, to_json(session.conversation, names, settings(session.draw)))
    return Done(f"saved in {path}")


def _load(session: Session, rest: str, hear: Hear) -> Done:
    path = _path(rest, "load")
    session.take(read_chat(path, len(session.speakers)))
    return Done(f"loaded {path}", replayed=True)


def _reset(session: Session, rest: str, hear: Hear) -> Done:
    session.reset()
    return Done(
        "a new conversation; the system message stays" if any(session.conversation.systems) else "a new conversation"
    )


def _undo(session: Session, rest: str, hear: Hear) -> Done:
    taken = session.undo()
    return Done(f"taken back: {taken.text}")


def _retry(session: Session, rest: str, hear: Hear) -> Done:
    return Done(answered=session.retry(hear))


def _params(session: Session, rest: str, hear: Hear) -> Done:
    return Done("\n".join(f"{name} = {as_text(value)}" for name, value in settings(session.draw).items()))


def _set(session: Session, rest: str, hear: Hear) -> Done:
    given = re.match(r"([^\s=]+)\s*[\s=]\s*(.+)", rest, re.DOTALL)
    if given is None:
        raise ChatError("write /set NAME VALUE, such as /set temperature 0.7")
    name, value = given.groups()
    session.draw = changed(session.draw, name, value)
    return Done(f"{name} = {as_text(settings(session.draw)[name])}")


def _label(session: Session, rest: str, hear: Hear) -> Done:
    return Done(judged=session.label(label_of(rest)))


def _help(session: Session, rest: str, hear: Hear) -> Done:
    width = max(len(command.usage) + len(name) for name, command in COMMANDS.items()) + 3
    lines = [f"{f'/{name} {command.usage}':<{width}} {command.about}" for name, command in COMMANDS.items()]
    keys = [
        'Enter sends; Alt-Enter begins a new line, and so does Enter after """ up to the next """.',
        "Ctrl-C stops an answer; Ctrl-D ends the chat.",
    ]
    names = [f"  {name}: {about}" for name, about in described().items()]
    return Done("\n".join([*lines, *keys, "What /set knows:", *names]))


def _quit(session: Session, rest: str, hear: Hear) -> Done:
    raise End


def _path(rest: str, name: str) -> Path:
    text = rest[1:-1] if len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "\"'" else rest
    if not text:
        raise ChatError(f"write /{name} FILE")
    return Path(text).expanduser()


COMMANDS = {
    "image": Command("FILE", "show an image with the next question", partial(_attach, "image")),
    "audio": Command("FILE", "play a sound with the next question", partial(_attach, "audio")),
    "video": Command("FILE", "show a video with the next question", partial(_attach, "video")),
    "system": Command("[TEXT]", "set the system message of everybody, or show it; null: none", _system),
    "label": Command("[TEXT]", "say the right answer to the last question, and have the answer judged by it", _label),
    "retry": Command("", "have the last question answered again, with other randomness", _retry),
    "undo": Command("", "take the last question and its answer back", _undo),
    "reset": Command("", "begin a new conversation", _reset),
    "params": Command("", "show how answers are drawn", _params),
    "set": Command("NAME VALUE", "change that, such as /set temperature 0.7", _set),
    "save": Command("FILE", "write the chat, its media included, into a JSON file", _save),
    "load": Command("FILE", "go on with a chat that was saved", _load),
    "help": Command("", "show this", _help),
    "quit": Command("", "end the chat, as Ctrl-D does", _quit),
}

"""A chat as a file: whole, with its media, and readable as a row of prompts or examples."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from lightrft_apps.chatting.conversation import Answer, Attachment, ChatError, Conversation, Exchange
from lightrft_core import Verdict

FORMAT = "lightrft-chat-1"

_KINDS = {
    "image": {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"},
    "audio": {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mpeg", b"\xff\xfb": "mpeg"},
    "video": {b"\x1aE\xdf\xa3": "webm", b"RIFF": "avi", b"GIF8": "gif"},
}
_OTHERWISE = {"image": "png", "audio": "mpeg", "video": "mp4"}
_DATA_URL = re.compile(r"data:(image|audio|video)/[\w.+-]+;base64,([A-Za-z0-9+/]*={0,2})")
_ENDS = ("stop", "length", "interrupted")

T = TypeVar("T")


def data_url(attachment: Attachment) -> str:
    """The attachment as browsers, chat APIs and our data loaders read it."""
    kinds, content = _KINDS[attachment.modality], attachment.content
    kind = next((kind for magic, kind in kinds.items() if content.startswith(magic)), _OTHERWISE[attachment.modality])
    return f"data:{attachment.modality}/{kind};base64,{b64encode(content).decode('ascii')}"


def to_json(conversation: Conversation, names: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `from_json` turns back. Its "messages" are the chat with the first of those who were asked, as rows of
    --prompt_data and lightrft sft hold one; the rest says who else answered, told what, how, and what the rewards said.
    """
    messages: list[dict[str, Any]] = []
    if conversation.systems and conversation.systems[0]:
        messages.append({"role": "system", "content": conversation.systems[0]})
    for exchange in conversation.exchanges:
        messages.append({"role": "user", "content": _content(exchange)})
        messages.append({"role": "assistant", "content": exchange.answers[0].text})
    return {
        "format": FORMAT,
        "messages": messages,
        "asked": names,
        "systems": list(conversation.systems or [None] * len(names)),
        "settings": dict(settings),
        "exchanges": [
            {
                "label": exchange.label,
                "names": [attachment.name for attachment in exchange.attachments],
                "answers": [asdict(answer) for answer in exchange.answers],
            }
            for exchange in conversation.exchanges
        ],
    }


def from_json(content: Any, speakers: int) -> Conversation:
    """The conversation. Raises ChatError if it is none, or one with another number of those who were asked."""
    try:
        return _conversation(content, speakers)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, StopIteration) as error:
        if isinstance(error, ChatError):
            raise
        raise ChatError(f"this is no chat as /save writes it ({type(error).__name__}: {error})") from error


def write_chat(path: Path, content: Mapping[str, Any]) -> None:
    """Write a chat, whole or not at all. Raises ChatError if something else is there, or it cannot be written."""
    if path.exists():
        try:
            known = json.loads(path.read_bytes()).get("format") == FORMAT
        except (OSError, ValueError, AttributeError, RecursionError):
            known = False
        if not known:
            raise ChatError(f"{path} is there already, and is no chat: choose another name")
    try:
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.rename(path)
    except (OSError, UnicodeEncodeError) as error:
        raise ChatError(f"{path} cannot be written: {error}") from error


def read_chat(path: Path, speakers: int) -> Conversation:
    """A chat that was written. Raises ChatError if there is none."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ChatError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ChatError(f"{path} is not JSON: {error}") from error
    return from_json(content, speakers)


def _content(exchange: Exchange) -> str | list[dict[str, Any]]:
    if not exchange.attachments:
        return exchange.text
    shown = [{"type": one.modality, one.modality: data_url(one)} for one in exchange.attachments]
    return [*shown, {"type": "text", "text": exchange.text}]


def _conversation(content: Any, speakers: int) -> Conversation:
    if content["format"] != FORMAT:
        raise ChatError(f"this is a chat of format {content['format']!r:.40}, and not {FORMAT}")
    messages = (message for message in content["messages"] if message["role"] != "system")
    systems = tuple(None if system is None else _text(system) for system in content["systems"])
    exchanges = []
    for entry in content["exchanges"]:
        asked, _ = next(messages), next(messages)
        answers = tuple(_answer(answer) for answer in entry["answers"])
        if len(answers) != speakers:
            raise ChatError(f"in this chat {len(answers)} answered each question, and {speakers} are asked now")
        text, attachments = _question(asked["content"], entry["names"])
        exchanges.append(Exchange(text, attachments, entry["label"], answers))
    if len(systems) != speakers:
        raise ChatError(f"in this chat {len(systems)} were asked, and {speakers} are asked now")
    return Conversation(systems, tuple(exchanges))


def _question(content: Any, names: list[str]) -> tuple[str, tuple[Attachment, ...]]:
    if isinstance(content, str):
        if names:
            raise ValueError("a question names media and has none")
        return content, ()
    *shown, last = content
    return _text(last["text"]), tuple(_attachment(part, name) for part, name in zip(shown, names, strict=True))


def _attachment(part: Mapping[str, Any], name: str) -> Attachment:
    found = _DATA_URL.fullmatch(part[part["type"]])
    if found is None or found[1] != part["type"]:
        raise ValueError(f"the {part['type']!r:.20} is no data URL")
    return Attachment(part["type"], _text(name), b64decode(found[2], validate=True))


def _answer(entry: Mapping[str, Any]) -> Answer:
    if entry["finish_reason"] not in _ENDS:
        raise ValueError(f"an answer ends by {entry['finish_reason']!r:.20}")
    return Answer(
        _text(entry["text"]),
        entry["finish_reason"],
        _some(_count, entry["tokens"]),
        _number(entry["seconds"]),
        _some(_verdict, entry["verdict"]),
    )


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    if not isinstance(entry["timed_out"], bool):
        raise TypeError("timed_out is neither true nor false")
    return Verdict(
        _some(_number, entry["score"]),
        _some(_number, entry["accuracy"]),
        {name: _number(value) for name, value in entry["parts"].items()},
        {name: _number(value) for name, value in entry["metrics"].items()},
        _text(entry["error"]),
        entry["timed_out"],
        tuple((_count(place), _number(value)) for place, value in entry["steps"]),
        tuple((_count(place), _number(value)) for place, value in entry["credit"]),
        {name: _text(note) for name, note in entry["notes"].items()},
    )


def _some(kind: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else kind(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is {type(value).__name__}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise TypeError(f"a count is {value!r:.20}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value

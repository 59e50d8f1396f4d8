"""The pieces of a message: text, and media that a row names or leaves a place for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lightrft_strategy.data.rejected import RowError

MODALITIES = ("image", "video", "audio")
_TYPES = {
    **{modality: modality for modality in MODALITIES},
    **{f"{modality}_url": modality for modality in MODALITIES},
    "input_audio": "audio",
}


@dataclass(frozen=True)
class Medium:
    """A medium of a row, not read yet.

    modality: "image", "video" or "audio".
    part: {"type": "image", "image": source} or in another dialect, for an Encoder to read; None: a place for one that a
        key of the row holds.
    place: how errors say where in the row it stands.
    """

    modality: str
    part: Mapping[str, Any] | None
    place: str


Piece: TypeAlias = str | Medium


@dataclass(frozen=True)
class Turn:
    """A message in pieces, in reading order."""

    role: str
    pieces: tuple[Piece, ...]

    @property
    def media(self) -> tuple[Medium, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Medium))

    @property
    def text(self) -> str:
        """Its text alone."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


def read_part(part: Any, place: str) -> Piece:
    """One part of a content: {"type": "text", "text": ...}, or {"type": "image", "image": source} and so on.

    A source may as well stand under "url", "path", "base64" or "bytes", and a part may be OpenAI's: {"type":
    "image_url", "image_url": {"url": ...}}, {"type": "input_audio", "input_audio": {"data": base64, ...}}. Without any
    source the part is a place. place: how errors call the message.
    Raises RowError for a part of another form.
    """
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise RowError(f'{place} holds a part that is not an object with a "type"')
    kind = part["type"]
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise RowError(f'{place} holds a text part whose "text" is {described(part.get("text"))}')
        return str(part["text"])
    if kind not in _TYPES:
        raise RowError(f"{place} holds a part of type {quoted(kind)}: there are text, {', '.join(_TYPES)}")
    modality = _TYPES[kind]
    names = (modality, f"{modality}_url", f"input_{modality}", "url", "path", "base64", "bytes")
    given = [name for name in names if part.get(name) is not None]
    if len(given) > 1:
        raise RowError(f'{place} holds a part of type "{kind}" with both "{given[0]}" and "{given[1]}": keep one')
    whole = {name: value for name, value in part.items() if value is not None and name != "text"}
    return Medium(modality, whole if given else None, f"the {modality} in {place}")


def joined(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The pieces with neighbouring texts in one, and no empty text."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return tuple(merged)


def described(value: Any) -> str:
    """A value as errors call it."""
    match value:
        case None:
            return "null"
        case "":
            return "empty"
        case Mapping():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"


def quoted(text: Any) -> str:
    """A row's own text as errors quote it: in a line, and not all of it where it is long."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text)[:80])
    return f'"{line}"' if len(str(text)) <= 80 else f'"{line}..."'


def keys_of(content: Mapping[Any, Any]) -> str:
    """What keys a row or a message has, as errors list them."""
    listed = [quoted(key) for key in list(content)[:12]]
    return ", ".join([*listed, "..."] if len(content) > len(listed) else listed) or "nothing"

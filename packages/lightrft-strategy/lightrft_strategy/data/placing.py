"""Where the media of a row stand in its messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightrft_strategy.data.parts import MODALITIES, Medium, Piece, Turn, described, joined
from lightrft_strategy.data.rejected import RowError
from lightrft_strategy.data.rows import Keys

_PLACEHOLDER = re.compile(f"<({'|'.join(MODALITIES)})>")


@dataclass(frozen=True)
class Listed:
    """What a row holds under the key for media of one modality."""

    key: str
    media: tuple[Medium, ...]


def listed_media(content: Mapping[str, Any], keys: Keys) -> dict[str, Listed]:
    """By modality, what the row holds under its key: one, a list, or nothing (null, "", an empty list).

    Raises RowError for anything else, such as a number.
    """
    named = zip(MODALITIES, (keys.images, keys.videos, keys.audios), strict=True)
    return {modality: Listed(key, tuple(_listed(modality, key, content.get(key)))) for modality, key in named}


def place_media(turns: Sequence[Turn], listed: Mapping[str, Listed], read: Collection[str]) -> list[Turn]:
    """The turns with the listed media in their places, in order.

    A place is a part without a source, or `<image>`, `<video>`, `<audio>` in a text that is not the assistant's. Where
    there is no place for any of a modality, all go in front of the last message of the user, images first.
    read: the modalities the model reads; `<image>` and the like of another is plain text.
    Raises RowError if there are not as many places as listed media.
    """
    split = [_split(turn, read) for turn in turns]
    in_front: list[Piece] = []
    for modality in MODALITIES:
        in_front += _without_place(modality, split, listed[modality])
    queues = {modality: iter(listed[modality].media) for modality in MODALITIES}

    def filled(piece: Piece) -> Piece:
        return next(queues[piece.modality]) if isinstance(piece, Medium) and piece.part is None else piece

    placed = [replace(turn, pieces=tuple(filled(piece) for piece in turn.pieces)) for turn in split]
    return _with_front(placed, in_front) if in_front else placed


def _listed(modality: str, key: str, value: Any) -> Iterator[Medium]:
    match value:
        case None | "":
            return
        case list() | tuple():
            for number, source in enumerate(value, start=1):
                if source is None:
                    raise RowError(f'{modality} {number} under its key "{key}" is null')
                yield Medium(
                    modality, {"type": modality, modality: source}, f'{modality} {number} under its key "{key}"'
                )
        case str() | bytes() | Mapping():
            yield Medium(modality, {"type": modality, modality: value}, f'the {modality} under its key "{key}"')
        case _:
            raise RowError(
                f'its key "{key}" is {described(value)}, neither {modality}s nor one: set --{modality}s_key to the key '
                f"of its {modality}s, or to one that no row has"
            )


def _split(turn: Turn, read: Collection[str]) -> Turn:
    """The turn with the placeholders of its texts made places."""
    if turn.role == "assistant" or not read:
        return turn
    pieces: list[Piece] = []
    for piece in turn.pieces:
        if isinstance(piece, Medium):
            pieces.append(piece)
            continue
        end = 0
        for found in _PLACEHOLDER.finditer(piece):
            if found[1] in read:
                pieces += [piece[end : found.start()], Medium(found[1], None, found[0])]
                end = found.end()
        pieces.append(piece[end:])
    return replace(turn, pieces=joined(tuple(pieces)))


def _without_place(modality: str, turns: Sequence[Turn], listed: Listed) -> tuple[Medium, ...]:
    """The listed media, if the turns leave no place for them."""
    media = [medium for turn in turns for medium in turn.media if medium.modality == modality]
    places = sum(medium.part is None for medium in media)
    if places and places != len(listed.media):
        raise RowError(
            f'leaves places for {modality}s in its messages, {places} of them, and its key "{listed.key}" holds '
            f"{len(listed.media)}: correct the row, or --{modality}s_key"
        )
    if media and listed.media and not places:
        raise RowError(
            f'holds {modality}s in its messages and under its key "{listed.key}", and no places for these: '
            f"write <{modality}> where they go"
        )
    return () if places else listed.media


def _with_front(turns: list[Turn], in_front: list[Piece]) -> list[Turn]:
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if not users:
        raise RowError("has media under a key, and no message of the user that they could go in front of")
    last = turns[users[-1]]
    turns[users[-1]] = replace(last, pieces=(*in_front, *last.pieces))
    return turns

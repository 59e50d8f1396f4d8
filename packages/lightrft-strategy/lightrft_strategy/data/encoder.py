"""How prompts that show or play something come to what a model reads: the seam to models that see and hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lightrft_core.types import Media, Message, Part
from lightrft_strategy.data.parts import Medium, Piece, Turn
from lightrft_strategy.data.rejected import RowError

PLACEHOLDER_IN_TEXT = "its text holds a token of the model's that stands for media alone: write it in another way"
"""Why plain text with one of an Encoder's placeholders is refused."""


class Encoder(Protocol):
    """What a model that sees or hears makes of media and of the messages around them.

    modalities: what it reads of "image", "video", "audio". placeholders: token ids that stand for media alone.
    """

    @property
    def modalities(self) -> Collection[str]: ...

    @property
    def placeholders(self) -> Collection[int]: ...

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        """A medium, loaded and known to be one.

        part: {"type": "image", "image": source}, likewise videos and audios, or another dialect of the same; a source
        is a path, a URL, bytes, {"bytes": ..., "path": ...}. root: the folder that paths are relative to and may not
        leave, None: no path is read. urls: whether URLs are fetched.
        Raises ValueError, for a person, if it cannot be read.
        """
        ...

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        """The messages as text and as token ids, in the model's chat template.

        answer_next: up to where the assistant begins its next turn; else up to the end of the last message.
        media: in the order of the parts {"type": modality, "sha256": ...} of the messages.
        Raises ValueError, for a person, if the messages cannot be written.
        """
        ...


def read_media(
    turns: Sequence[Turn], encoder: Encoder | None, *, root: Path | None, urls: bool, limits: Mapping[str, int | None]
) -> tuple[Media, ...]:
    """The media of the turns, in reading order. limits: how many a prompt may have of each modality, None for any.

    Raises RowError if there are more, if one cannot be read, or if the model does not read such.
    """
    asked = [medium for turn in turns for medium in turn.media]
    for modality, count in Counter(medium.modality for medium in asked).items():
        limit = limits[modality]
        if limit is not None and count > limit:
            raise RowError(f"has {count} {modality}s, more than --limit_mm_{modality}_per_prompt {limit}")
    return tuple(_read(medium, encoder, root, urls) for medium in asked)


def as_messages(turns: Sequence[Turn], media: Sequence[Media]) -> tuple[Message, ...]:
    """The turns as messages: plain text, or parts where there are media, which they name by their hash."""
    hashes = iter(media)

    def part(piece: Piece) -> Part:
        if isinstance(piece, str):
            return {"type": "text", "text": piece}
        return {"type": piece.modality, "sha256": next(hashes).sha256}

    return tuple(
        Message(turn.role, tuple(part(piece) for piece in turn.pieces) if turn.media else turn.text) for turn in turns
    )


def _read(medium: Medium, encoder: Encoder | None, root: Path | None, urls: bool) -> Media:
    if encoder is None:
        raise RowError(
            f"shows or plays {medium.place}, and --pretrain is a model of text alone: set it to one that reads "
            f"{medium.modality}s, such as Qwen2.5-VL (images, videos), Qwen2-Audio (audios) or Qwen2.5-Omni (all)"
        )
    if medium.modality not in encoder.modalities:
        reads = ", ".join(f"{modality}s" for modality in encoder.modalities)
        raise RowError(
            f"shows or plays {medium.place}, and the model of --pretrain reads no {medium.modality}s ({reads})"
        )
    try:
        return encoder.read(medium.part or {}, root=root, urls=urls)
    except ValueError as error:
        raise RowError(f"{medium.place}: {error}") from error

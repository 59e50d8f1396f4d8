"""Conversations with media in a processor's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightrft_core import Media, Message
from lightrft_core.types import Part
from lightrft_multimodal.media import MediaError

MODALITIES = ("image", "video", "audio")
_NO_PADDING = {"padding": False}
"""Where there is nothing, SmolVLM's processor hands on arguments of its own and warns of them for every prompt."""


def rendered(processor: Any, messages: Sequence[Message], media: Sequence[Media], *, prompt: bool = True) -> str:
    """The text of a conversation, each medium as the template writes it.

    prompt: up to where the assistant begins. Raises MediaError if media are not those of the messages' parts.
    """
    contents = [_parts(message) for message in messages]
    told = [part["type"] for parts in contents for part in parts if part["type"] in MODALITIES]
    given = [medium.modality for medium in media]
    if told != given:
        raise MediaError(f"its messages show {_listed(told)} and its media are {_listed(given)}: they must be the same")
    turns = [{"role": one.role, "content": parts} for one, parts in zip(messages, contents, strict=True)]
    text = processor.apply_chat_template(
        turns, add_generation_prompt=prompt, tokenize=False, processor_kwargs=_NO_PADDING
    )
    return str(text)


def _parts(message: Message) -> list[dict[str, Any]]:
    """A message's parts, of media their type alone: templates look into everything they find."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [_part(part) for part in message.content]


def _part(part: Part) -> dict[str, Any]:
    return {"type": "text", "text": part["text"]} if part["type"] == "text" else {"type": part["type"]}


def _listed(modalities: Sequence[str]) -> str:
    return ", ".join(modalities) or "nothing"

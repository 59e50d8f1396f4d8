"""Media of samples on their way over HTTP, by lightrft_multimodal where it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightrft_rewards.samples import Sample
from lightrft_rewards.service.schema import MODALITIES, Asked


class Unreadable(ValueError):
    """Media that cannot be judged here, and what to do about it."""


def with_media(asked: Asked) -> Sample:
    """The sample with its media as LightRFT's records, named by their hash in the parts of its messages.

    Parts stand for media in reading order. A sample without messages gets one turn of the user: its media, then its
    prompt. Raises Unreadable if lightrft_multimodal is not installed, if a medium cannot be read, or if the parts are
    not those of the media.
    """
    if not asked.media:
        if any(_media_parts(asked.sample.messages)):
            raise Unreadable(f"{asked.sample.name}: its messages have media parts, and no media were sent")
        return asked.sample
    try:
        from lightrft_multimodal import MediaError, from_wire
    except ImportError:
        raise Unreadable(
            f"{asked.sample.name}: this service reads no media: install lightrft-multimodal beside it"
        ) from None
    try:
        records = tuple(from_wire(part) for part in asked.media)
    except MediaError as error:
        raise Unreadable(f"{asked.sample.name}: {error}") from error
    messages = asked.sample.messages or (
        {"role": "user", "content": [*_parts(records), {"type": "text", "text": asked.sample.prompt}]},
    )
    written = [part["type"] for part in _media_parts(messages)]
    sent = [record.modality for record in records]
    if written != sent:
        raise Unreadable(
            f"{asked.sample.name}: its messages show {', '.join(written) or 'no media'}; sent were {', '.join(sent)}"
        )
    return replace(asked.sample, messages=_named(messages, records), media=records)


def sent_media(sample: Sample) -> list[dict[str, Any]]:
    """A sample's media records as a request holds them."""
    if not sample.media:
        return []
    from lightrft_multimodal import to_wire

    return [to_wire(record) for record in sample.media]


def _named(messages: Sequence[Mapping[str, Any]], records: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    parts = iter(_parts(records))

    def content(message: Mapping[str, Any]) -> Any:
        if isinstance(message["content"], str):
            return message["content"]
        return [next(parts) if part["type"] in MODALITIES else part for part in message["content"]]

    return tuple({**message, "content": content(message)} for message in messages)


def _parts(records: Sequence[Any]) -> list[dict[str, str]]:
    return [{"type": record.modality, "sha256": record.sha256} for record in records]


def _media_parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        if not isinstance(message["content"], str):
            yield from (part for part in message["content"] if part["type"] in MODALITIES)

"""Prompts of data sets as a model that sees or hears reads them: the Encoder of strategy's load_prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from lightrft_core import Media, Message
from lightrft_core.types import Part
from lightrft_multimodal.adapters import MediaAdapter
from lightrft_multimodal.media import DEFAULT_LIMITS, Limits, MediaError, Record, load_media


class MediaEncoder:
    """Loads media within limits and writes messages by an adapter. Sounds are resampled to what the model hears.

    Prompts that show the same share it in memory.
    """

    def __init__(self, adapter: MediaAdapter, limits: Limits = DEFAULT_LIMITS) -> None:
        self.adapter = adapter
        self.limits = replace(limits, sampling_rate=adapter.sampling_rate or limits.sampling_rate)
        self.modalities = tuple(adapter.towers)
        self.placeholders = adapter.placeholders
        self._known: WeakValueDictionary[tuple[str, str], Record] = WeakValueDictionary()

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        """The medium of one part of a message (see load_media); the same one again for another with the same content.

        root: the folder that paths are relative to and may not leave; None: no path is read.
        Raises MediaError if it cannot be used.
        """
        record = load_media(part, limits=replace(self.limits, urls=urls, paths=root is not None), root=root)
        return self._known.setdefault((record.modality, record.sha256), record)

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        """Messages in the chat template, as text and as token ids, their media expanded to their placeholder tokens.

        answer_next: up to where the assistant begins its next turn; else up to the end of the last message.

        Raises MediaError if the template or the processor refuses it, or if a text holds a placeholder token itself.
        """
        from jinja2 import TemplateError

        for message in messages:
            self._check_text(message)
        try:
            return self.adapter.encode(messages, media, answer_next=answer_next)
        except TemplateError as error:
            raise MediaError(f"is refused by the chat template: {error}") from error

    def _check_text(self, message: Message) -> None:
        parts = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
        tokenizer = self.adapter.tokenizer
        for text in (part["text"] for part in parts if part["type"] == "text"):
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise MediaError("a text is not valid Unicode: it holds half of a surrogate pair") from error
            ids = tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            smuggled = set(ids) & set(self.adapter.placeholders)
            if smuggled:
                raise MediaError(
                    f"a text holds {tokenizer.convert_ids_to_tokens(min(smuggled))}, which stands for media alone: "
                    "write it in another way"
                )

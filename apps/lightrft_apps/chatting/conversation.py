"""What has been said in a chat: questions with what they show and play, and the answers of everybody who was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightrft_core import Media, Message, Verdict
from lightrft_core.types import Part


class ChatError(ValueError):
    """Something that cannot be answered or done, in a line for a person; the chat goes on."""


@dataclass(frozen=True)
class Attachment:
    """A file that a question shows or plays. modality: "image", "video" or "audio"."""

    modality: str
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What one of those who were asked said.

    finish_reason: "stop", "length", or "interrupted" where somebody stopped it. tokens: how many, if that is known.
    """

    text: str
    finish_reason: str
    tokens: int | None = None
    seconds: float = 0.0
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Exchange:
    """A question and the answers to it, one of each who was asked. label: what rewards compare the answers with."""

    text: str
    attachments: tuple[Attachment, ...] = ()
    label: Any = None
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """A chat so far. Everybody who is asked knows his own answers alone.

    systems: the system message of each who is asked, None: he has none; empty: nobody has any.
    """

    systems: tuple[str | None, ...] = ()
    exchanges: tuple[Exchange, ...] = ()

    def plus(self, exchange: Exchange) -> Conversation:
        return replace(self, exchanges=(*self.exchanges, exchange))

    @property
    def before(self) -> Conversation:
        """Without the last question."""
        return replace(self, exchanges=self.exchanges[:-1])

    def messages(
        self, speaker: int, read: Callable[[Attachment], Media], around: tuple[str, str]
    ) -> tuple[tuple[Message, ...], tuple[Media, ...]]:
        """As the model of number `speaker` reads it, up to the last question: messages, and what they show and play.

        around: what stands before and after every question.
        """
        system = self.systems[speaker] if self.systems else None
        messages, media = [Message("system", system)] if system else [], list[Media]()
        for exchange in self.exchanges:
            shown = [read(attachment) for attachment in exchange.attachments]
            media += shown
            messages.append(Message("user", _content(exchange.text, shown, around)))
            if exchange.answers:
                messages.append(Message("assistant", exchange.answers[speaker].text))
        return tuple(messages), tuple(media)


def _content(text: str, media: Sequence[Media], around: tuple[str, str]) -> str | tuple[Part, ...]:
    before, after = around
    if not media:
        return before + text + after
    parts: list[Part] = [{"type": medium.modality, "sha256": medium.sha256} for medium in media]
    beginning: list[Part] = [{"type": "text", "text": before}] if before else []
    return (*beginning, *parts, {"type": "text", "text": text + after})

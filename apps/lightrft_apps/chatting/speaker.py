"""Who answers in a chat, wherever the model is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lightrft_apps.chatting.conversation import Conversation
from lightrft_core import Prompt, Rollout, SamplingParams


class Stopped(Exception):
    """Raised by what hears an answer, to end it, and by what was ended."""


class Speaker(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads besides text: of "image", "video", "audio"."""
        ...

    def prompt(self, conversation: Conversation, place: int, *, label: Any = None) -> Prompt:
        """The conversation as it reads it; place: its own among those who are asked. Raises ChatError if it cannot."""
        ...

    def answer(
        self, prompt: Prompt, law: SamplingParams, *, seed: int, step: int, hear: Callable[[str], None]
    ) -> Rollout:
        """Answer, and let `hear` have the text piece by piece as it is written, or at once where it comes at once.

        What `hear` raises ends the answer and passes through. Raises ChatError if there can be no answer, Stopped if
        `stop` ended it.
        """
        ...

    def stop(self) -> None:
        """End the wait for the next piece from elsewhere, from any thread; does nothing where `hear` is called soon."""
        ...

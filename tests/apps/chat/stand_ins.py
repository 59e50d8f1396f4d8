"""Stand-ins of the tests: a speaker that needs no model, and a judge that needs no worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightrft_apps.chatting.conversation import Attachment, ChatError, Conversation
from lightrft_core import FinishReason, Group, Prompt, Rollout, SamplingParams, Verdict


def quiet(place: int, piece: str) -> None:
    pass


class Echo:
    """Says what it has been told, and by which law; a Speaker."""

    modalities = ("image",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[tuple[Prompt, SamplingParams, int, int]] = []

    def prompt(self, conversation: Conversation, place: int, *, label: Any = None) -> Prompt:
        messages, media = conversation.messages(place, lambda attachment: Shown(attachment), ("", ""))
        if any("unreadable" in str(message.content) for message in messages):
            raise ChatError("cannot read this")
        return Prompt("chat", messages, "", (), label, media=media)

    def answer(
        self, prompt: Prompt, law: SamplingParams, *, seed: int, step: int, hear: Callable[[str], None]
    ) -> Rollout:
        self.asked.append((prompt, law, seed, step))
        text = f"{self.name} heard {len(prompt.messages)}, try {prompt.occurrence}"
        for word in text.split(" "):
            hear(word)
        return Rollout(0, [1, 2], [0.0] * 2, [True] * 2, FinishReason.STOP, text)

    def stop(self) -> None:
        pass


class Shown:
    def __init__(self, attachment: Attachment) -> None:
        self.modality, self.sha256 = attachment.modality, attachment.content.hex()


class LabelIsIn:
    """Gives 1 where the label is in the answer; a Reward."""

    def __init__(self) -> None:
        self.groups: list[Group] = []

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        self.groups += groups
        return [[self._verdict(g, r) for r in g.rollouts] for g in groups]

    def _verdict(self, group: Group, rollout: Rollout) -> Verdict:
        if group.prompt.label is None:
            return Verdict(None, error=f"chat, sample {rollout.sample}: no label")
        value = float(group.prompt.label in rollout.text)
        return Verdict(value, value, {"in": value}, steps=((3, 0.5),), notes={"in": "looked"})

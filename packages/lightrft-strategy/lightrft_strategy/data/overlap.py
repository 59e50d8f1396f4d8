"""Prompts that are in the training and in the evaluation data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b

from lightrft_core.types import Message, Prompt


def overlap(train: Iterable[Prompt], evaluation: Iterable[Prompt]) -> list[tuple[str, str]]:
    """(training uid, evaluation uid) for each evaluation prompt that is also in the training data.

    Prompts are the same if their messages are, up to white space; system messages do not count, as they are the
    run's choice rather than the task. Of several equal training prompts the first is named.
    """
    seen: dict[bytes, str] = {}
    for prompt in train:
        seen.setdefault(_fingerprint(prompt), prompt.uid)
    return [(seen[key], prompt.uid) for prompt in evaluation if (key := _fingerprint(prompt)) in seen]


def _fingerprint(prompt: Prompt) -> bytes:
    turns = [(turn.role, " ".join(_text(turn).split())) for turn in prompt.messages if turn.role != "system"]
    return blake2b(json.dumps(turns).encode(), digest_size=16).digest()


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(
        part["text"] if part["type"] == "text" else json.dumps(dict(part), sort_keys=True, default=repr)
        for part in message.content
    )

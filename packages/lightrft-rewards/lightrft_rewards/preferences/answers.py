"""Answers as plain rows hold them: text, media, or the end of a conversation, which then brings its question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrft_rewards.preferences.comparison import Answer
from lightrft_strategy.data.conversation import read_turns
from lightrft_strategy.data.parts import MODALITIES, Turn, described, joined, read_part
from lightrft_strategy.data.placing import listed_media, place_media
from lightrft_strategy.data.rejected import RowError
from lightrft_strategy.data.rows import Keys

_SPOKEN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Answered:
    """An answer, and the conversation before it, as far as it came with it."""

    before: tuple[Turn, ...]
    answer: Answer


def answered(value: Any, name: str) -> Answered:
    """What a row holds as an answer. name: how errors call it. Raises RowError for a value of another form."""
    if isinstance(value, str):
        return _spoken(value, name) if value.startswith("\n\nHuman:") else Answered((), _said((value,)))
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise RowError(f'its "{name}" is {described(value)}, not text, media or a conversation')
    if all(isinstance(item, Mapping) and "role" in item for item in value):
        return _of_turns(read_turns({name: list(value)}, Keys(input=name)), name)
    return Answered((), _said(tuple(read_part(part, f'its "{name}"') for part in value)))


def question_of(content: Mapping[str, Any], keys: Keys, answers: Sequence[Answered]) -> tuple[Turn, ...]:
    """What all of these answers answer, with the media that the row lists in their places.

    The prompt is the question where the answers came without a conversation of more than it; else that is. A row with
    neither asks nothing. Raises RowError if conversations differ, or the prompt is of another form.
    """
    before = [each.before for each in answers if each.before]
    if any(turns != before[0] for turns in before):
        raise RowError(
            "holds conversations that differ before their last answer: what is compared answers one question"
        )
    turns = list(before[0]) if before else []
    if not turns and content.get(keys.input) not in (None, ""):
        turns = read_turns(content, keys)
        if turns[-1].role == "assistant":
            raise RowError(f'its "{keys.input}" ends with a message of the assistant, so there is nothing to answer')
    listed = listed_media(content, keys)
    if not turns and any(each.media for each in listed.values()):
        turns = [Turn("user", ())]
    return tuple(place_media(turns, listed, MODALITIES))


def _of_turns(turns: Sequence[Turn], name: str) -> Answered:
    *before, last = turns
    if last.role != "assistant":
        raise RowError(f'its conversation "{name}" does not end with an answer of the assistant')
    return Answered(tuple(before), _said(last.pieces))


def _spoken(text: str, name: str) -> Answered:
    """A conversation in the form of hh-rlhf (Bai et al. 2022, arXiv 2204.05862)."""
    _, *parts = _SPOKEN.split(text)
    turns = [Turn(_ROLES[who], (said.strip(),)) for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return _of_turns(turns, name)


def _said(pieces: Answer) -> Answer:
    """The pieces, an answer of no text being one empty text."""
    return joined(pieces) or ("",)

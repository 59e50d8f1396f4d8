"""Answers in steps: where each of them ends, as letters and as the tokens that a process reward model is asked at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lightrft_core.types import Media, Message
from lightrft_rewards.models.passage import Passage
from lightrft_rewards.models.writing import Writer
from lightrft_strategy.data.rejected import RowError


def step_ends(text: str, separator: str) -> list[int]:
    """How many letters there are up to the end of each step; blanks around steps are no part of them, nor are blank
    steps."""
    ends, start = [], 0
    for part in text.split(separator):
        if part.strip():
            ends.append(start + len(part.rstrip()))
        start += len(part) + len(separator)
    return ends


def stepped_passage(
    writer: Writer, messages: Sequence[Message], media: Sequence[Media], ends: Sequence[int]
) -> Passage:
    """A conversation that ends with an answer of the assistant in steps, which end after so many letters of it.

    Raises RowError if it cannot be written, or the places of its steps cannot be found.
    """
    if not ends:
        raise RowError("has no steps to judge")
    text, passage = writer.write(messages, media)
    start = _answer_start(writer, messages, media, text)
    places = token_places(writer.tokenizer, text, passage.token_ids, [start + end for end in ends])
    return Passage(passage.token_ids, passage.media, places)


def _answer_start(writer: Writer, messages: Sequence[Message], media: Sequence[Media], text: str) -> int:
    """How many letters of the text stand before the answer."""
    answer = str(messages[-1].content)
    if writer.chat is None:
        return len(text) - len(answer)
    for answer_next in (True, False):
        before, _ = writer.chat.write(messages[:-1], media, answer_next=answer_next)
        shared = next(
            (place for place, (one, other) in enumerate(zip(before, text, strict=False)) if one != other), len(before)
        )
        start = text.find(answer, shared)
        if start >= 0:
            return start
    raise RowError("cannot be judged by steps: the chat template does not write the answer as it is")


def token_places(tokenizer: Any, text: str, token_ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The places in token_ids of the tokens that write the last letter of each step.

    token_ids: the text's, but for placeholders of media and whatever stands before the first step, and an end token
    that may stand behind it. ends: how many letters of the text there are up to the end of each step.
    Raises RowError if the tokenizer cannot tell, or two steps end in one token.
    """
    if not tokenizer.is_fast:
        raise RowError(f"cannot be judged by steps: {type(tokenizer).__name__} does not tell where its tokens stand")
    written = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = written["input_ids"], written["offset_mapping"]
    read = list(token_ids)
    if read[-1:] == [tokenizer.eos_token_id] != ids[-1:]:
        read.pop()
    places: list[int] = []
    for end in ends:
        holding = [place for place, (first, behind) in enumerate(offsets) if first < end <= behind]
        places.append(holding[-1] - len(ids) + len(read) if holding else -1)
    tail = len(read) - min(places)
    if min(places) < 0 or read[-tail:] != list(ids)[-tail:]:
        raise RowError("cannot be judged by steps: its tokens are not those of its text")
    if any(one >= other for one, other in pairwise(places)):
        raise RowError("cannot be judged by steps: two of them end in one token")
    return tuple(places)

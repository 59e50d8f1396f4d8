"""Conversations as a model reads them, and which tokens of them are the assistant's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from lightrft_core.types import Media
from lightrft_strategy.data.parts import Turn
from lightrft_strategy.data.rejected import RowError
from lightrft_strategy.data.render import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Written:
    """A conversation. text: in the chat template; token_ids: the same as the model reads it, its media expanded."""

    text: str
    token_ids: Sequence[int]
    media: tuple[Media, ...] = ()


class ChatWriter(Protocol):
    """Writes conversations as a model reads them."""

    special_ids: frozenset[int]
    """Tokens that are never a part of a text: those that end a turn are among them."""

    def write(self, messages: Sequence[Turn], *, answer_next: bool) -> Written:
        """A conversation, and with answer_next up to where the assistant begins its next turn.

        Raises RowError if it cannot be written.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        ...

    def marks(self, messages: Sequence[Turn]) -> tuple[Sequence[int], list[bool]] | None:
        """Tokens of the conversation, and which of them its template marks as generated; None: it marks nothing."""
        ...


class TextWriter:
    """By a tokenizer's chat template. Media are refused: a tokenizer reads text alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        self.special_ids = frozenset({*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)})
        self.marked = tokenizer.is_fast and _MARKER.search(str(tokenizer.get_chat_template())) is not None

    def write(self, messages: Sequence[Turn], *, answer_next: bool) -> Written:
        """The conversation as text and tokens."""
        _refuse(messages)
        text = templated(self.tokenizer, messages, add_generation_prompt=answer_next)
        return Written(text, encode(self.tokenizer, [text], special_tokens=False)[0])

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def marks(self, messages: Sequence[Turn]) -> tuple[Sequence[int], list[bool]] | None:
        """By the template's {% generation %} blocks, if it has any."""
        if not self.marked:
            return None
        _refuse(messages)
        marked = templated(self.tokenizer, messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        return marked["input_ids"], [bool(mark) for mark in marked["assistant_masks"]]


def learnt_tokens(
    writer: ChatWriter, messages: Sequence[Turn], turns: Sequence[int]
) -> tuple[Sequence[int], list[bool]]:
    """A conversation's tokens, and which of them are of these turns of the assistant, their end tokens included.

    turns: numbers of messages, ascending. Where the template marks what is generated, by its marks. Otherwise what
    stands before a turn and what stands up to its end are written by themselves, and both must be the beginning of the
    whole, as text and as tokens; what a template writes behind the token that ends a turn is not the assistant's.
    Raises RowError if that does not hold, or the template marks no token of a turn.
    """
    marked = writer.marks(messages)
    if marked is not None:
        return _marked_turns(writer, messages, turns, *marked)
    whole = writer.write(messages, answer_next=False)
    mask = [False] * len(whole.token_ids)
    for turn in turns:
        begin = _length(writer, messages[:turn], whole, answer_next=True)
        end = _length(writer, messages[: turn + 1], whole, answer_next=False)
        learnt = _without_tail(writer, whole.token_ids[begin:end])
        if not learnt:
            raise RowError(f"message {turn + 1} has no token of its own in the chat template")
        mask[begin : begin + learnt] = [True] * learnt
    return whole.token_ids, mask


def templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Turn], **asked: Any) -> Any:
    """What tokenizer.apply_chat_template gives: as text unless something else is asked for.

    Raises RowError if the template refuses the conversation.
    """
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": message.text} for message in messages]
    try:
        return tokenizer.apply_chat_template(turns, **{"tokenize": False} | asked)
    except TemplateError as error:
        raise RowError(f"is refused by the chat template: {error}") from error


def _marked_turns(
    writer: ChatWriter,
    messages: Sequence[Turn],
    turns: Sequence[int],
    token_ids: Sequence[int],
    marked: list[bool],
) -> tuple[Sequence[int], list[bool]]:
    """The marks of these turns alone: marked stretches are counted, those of earlier turns by writing these alone."""
    ends = {turn: _stretches(writer.marks(messages[: turn + 1])) for turn in turns}
    begins = {turn: _stretches(writer.marks(messages[:turn])) if turn else 0 for turn in turns}
    wanted = {number for turn in turns for number in range(begins[turn], ends[turn])}
    for turn in turns:
        if ends[turn] <= begins[turn]:
            raise RowError(f"message {turn + 1} has no token that the chat template marks as generated")
    mask, number = [False] * len(marked), 0
    for is_marked, places in groupby(range(len(marked)), key=marked.__getitem__):
        if is_marked:
            for place in places:
                mask[place] = number in wanted
            number += 1
    return token_ids, mask


def _stretches(marked: tuple[Sequence[int], list[bool]] | None) -> int:
    return sum(is_marked for is_marked, _ in groupby(marked[1])) if marked else 0


def _length(writer: ChatWriter, messages: Sequence[Turn], whole: Written, *, answer_next: bool) -> int:
    """How many of the whole conversation's tokens its first messages are. Raises RowError if they do not begin it."""
    part = writer.write(messages, answer_next=answer_next)
    what = f"its first {len(messages)} messages{' and the beginning of an answer' if answer_next else ''}"
    for kind, beginning, all_of_it in (
        ("text", part.text, whole.text),
        ("tokens", list(part.token_ids), list(whole.token_ids)),
    ):
        if all_of_it[: len(beginning)] != beginning:
            raise RowError(
                f"cannot be masked: in the chat template, {what} are not how the whole conversation begins, as {kind}; "
                "use a template with {% generation %} marks"
            )
    return len(part.token_ids)


def _without_tail(writer: ChatWriter, turn: Sequence[int]) -> int:
    """How many tokens a turn has up to its end token, if nothing but blanks is written behind it; else all of them."""
    last = max((place for place, token in enumerate(turn) if token in writer.special_ids), default=None)
    if last is None or writer.decode(turn[last + 1 :]).strip():
        return len(turn)
    return last + 1


def _refuse(messages: Sequence[Turn]) -> None:
    media = [medium for turn in messages for medium in turn.media]
    if media:
        raise RowError(f"holds {media[0].modality} ({media[0].place}), and the model reads text alone")

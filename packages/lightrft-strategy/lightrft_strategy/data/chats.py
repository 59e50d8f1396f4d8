"""Conversations as a model reads them, and which tokens of them are the assistant's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lightrft_core.types import Media, Message
from lightrft_strategy.data.encoder import Encoder
from lightrft_strategy.data.rejected import RowError
from lightrft_strategy.data.render import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Marked(NamedTuple):
    """A conversation's tokens, and of each whether the assistant wrote it; media: of its placeholder tokens."""

    token_ids: Sequence[int]
    mask: Sequence[bool]
    media: Sequence[Media] = ()


class ChatWriter(Protocol):
    """Writes conversations as a model reads them.

    special_ids: tokens that are never a part of a text: those that end a turn are among them.
    """

    @property
    def special_ids(self) -> frozenset[int]: ...

    def write(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool
    ) -> tuple[str, Sequence[int]]:
        """A conversation as text and token ids, and with answer_next up to where the assistant begins its next turn.

        Raises RowError if it cannot be written.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        ...

    def marked(self, messages: Sequence[Message]) -> Marked | None:
        """A conversation, by what its template marks as generated; None: it marks nothing."""
        ...


class TextWriter:
    """By a tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.special_ids = special_ids(tokenizer)
        self._marks = tokenizer.is_fast and _MARK.search(str(tokenizer.get_chat_template())) is not None

    def write(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool
    ) -> tuple[str, Sequence[int]]:
        """The conversation, which has no media."""
        text = str(self._templated(messages, tokenize=False, add_generation_prompt=answer_next))
        return text, encode(self.tokenizer, [text], special_tokens=False)[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def marked(self, messages: Sequence[Message]) -> Marked | None:
        """By the template's {% generation %} blocks, if it has any."""
        if not self._marks:
            return None
        written = self._templated(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        return Marked(written["input_ids"], [bool(mark) for mark in written["assistant_masks"]])

    def _templated(self, messages: Sequence[Message], **asked: Any) -> Any:
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self.tokenizer.apply_chat_template(turns, **asked)
        except TemplateError as error:
            raise RowError(f"is refused by the chat template: {error}") from error


class MediaWriter:
    """By the encoder of a model that sees or hears, whose placeholders no mark of a template counts."""

    def __init__(self, encoder: Encoder, tokenizer: PreTrainedTokenizerBase) -> None:
        self.encoder, self.tokenizer = encoder, tokenizer
        self.special_ids = special_ids(tokenizer)

    def write(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool
    ) -> tuple[str, Sequence[int]]:
        """The conversation, its media expanded to their placeholder tokens."""
        try:
            return self.encoder.encode(messages, media, answer_next=answer_next)
        except ValueError as error:
            raise RowError(f"cannot be written as the model reads it: {error}") from error

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def marked(self, messages: Sequence[Message]) -> Marked | None:
        """None."""
        return None


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that a tokenizer holds to be no text."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    return frozenset({*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)})


def learnt_tokens(
    writer: ChatWriter, messages: Sequence[Message], media: Sequence[Media], turns: Sequence[int]
) -> Marked:
    """A conversation's tokens, and which of them are of these turns of the assistant, their end tokens included.

    turns: numbers of messages, ascending. Where the template marks what is generated, by its marks. Otherwise what
    stands before a turn and what stands up to its end are written by themselves, and both must be the beginning of the
    whole, as text and as tokens; what a template writes behind the token that ends a turn is not the assistant's.
    Raises RowError if that does not hold, or the template marks no token of a turn.
    """
    by_marks = writer.marked(messages)
    if by_marks is not None:
        return _of_turns(writer, messages, turns, by_marks)
    whole = writer.write(messages, media, answer_next=False)
    mask = [False] * len(whole[1])
    for turn in turns:
        begin = _length(writer, messages[:turn], media, whole, answer_next=True)
        following = messages[turn + 1 :]
        end = _length(writer, messages[: turn + 1], media, whole, answer_next=False) if following else len(mask)
        learnt = _without_tail(writer, whole[1][begin:end])
        if not learnt:
            raise RowError(f"cannot be masked: the chat template writes nothing for message {turn + 1}")
        mask[begin : begin + learnt] = [True] * learnt
    return Marked(whole[1], mask, media)


def media_of(messages: Sequence[Message]) -> int:
    """How many media messages have."""
    parts = [part for message in messages if not isinstance(message.content, str) for part in message.content]
    return sum(part["type"] != "text" for part in parts)


def _of_turns(writer: ChatWriter, messages: Sequence[Message], turns: Sequence[int], marked: Marked) -> Marked:
    """The marks of these turns alone: stretches of marked tokens are counted, a turn's by writing up to it alone."""
    wanted: set[int] = set()
    for turn in turns:
        before, after = (_stretches(writer, messages[:end]) for end in (turn, turn + 1))
        if after == before:
            raise RowError(f"cannot be masked: the chat template marks nothing of message {turn + 1} as generated")
        wanted |= {*range(before, after)}
    mask, number = [False] * len(marked.mask), 0
    for is_marked, places in groupby(range(len(mask)), key=marked.mask.__getitem__):
        if is_marked:
            for place in places:
                mask[place] = number in wanted
            number += 1
    return Marked(marked.token_ids, mask)


def _stretches(writer: ChatWriter, messages: Sequence[Message]) -> int:
    marked = writer.marked(messages) if messages else None
    return sum(is_marked for is_marked, _ in groupby(marked.mask)) if marked else 0


def _length(
    writer: ChatWriter,
    messages: Sequence[Message],
    media: Sequence[Media],
    whole: tuple[str, Sequence[int]],
    *,
    answer_next: bool,
) -> int:
    """How many of the whole conversation's tokens its first messages are. Raises RowError if they do not begin it."""
    text, token_ids = writer.write(messages, media[: media_of(messages)], answer_next=answer_next)
    same_text, same_tokens = whole[0].startswith(text), list(whole[1][: len(token_ids)]) == list(token_ids)
    if not (same_text and same_tokens):
        what = f"its first {len(messages)} messages{' and the beginning of an answer' if answer_next else ''}"
        how = "tokens" if same_text else "text"
        raise RowError(
            f"cannot be masked: written in the chat template by themselves, {what} are not how the whole conversation "
            f"begins, as {how}; a template with {{% generation %}} marks needs no such comparison"
        )
    return len(token_ids)


def _without_tail(writer: ChatWriter, turn: Sequence[int]) -> int:
    """How many tokens a turn has up to its end token, if nothing but blanks is written behind it; else all of them."""
    last = max((place for place, token in enumerate(turn) if token in writer.special_ids), default=None)
    if last is None or writer.decode(turn[last + 1 :]).strip():
        return len(turn)
    return last + 1

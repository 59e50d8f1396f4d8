"""Questions to a judge as it reads them: prompts to answer, and examples of what to answer."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightrft_core import Example, Media, Message, Prompt
from lightrft_core.types import Part
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_rewards.models.judges.questions import Question
from lightrft_rewards.models.writing import NO_LIMITS
from lightrft_strategy.data.chats import ChatWriter, MediaWriter, TextWriter, learnt_tokens
from lightrft_strategy.data.encoder import Encoder, as_messages, read_media
from lightrft_strategy.data.rejected import PromptDataError, RowError
from lightrft_strategy.data.render import check_chat_template, encode, plain_text

ROUTE = "judgement"
"""The rule that judges judgements."""


class JudgeWriter:
    """Writes questions by a tokenizer, or by the encoder of a judge that sees or hears.

    max_len_flag: what asked for the form's max_len. media_urls: whether media are fetched from URLs. media_limits: how
    many a question may have, by modality.
    Raises PromptDataError if the tokenizer cannot write so.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Encoder | None = None,
        form: JudgeForm | None = None,
        *,
        max_len_flag: str = "--max_len",
        media_urls: bool = False,
        media_limits: Mapping[str, int | None] = NO_LIMITS,
    ) -> None:
        self.tokenizer, self.encoder, self.form, self.max_len_flag = (
            tokenizer,
            encoder,
            form or JudgeForm(),
            max_len_flag,
        )
        self.media_urls, self.media_limits = media_urls, media_limits
        self.chat: ChatWriter | None = None
        if self.form.apply_chat_template:
            if encoder is None:
                check_chat_template(tokenizer)
            self.chat = TextWriter(tokenizer) if encoder is None else MediaWriter(encoder, tokenizer)
        elif tokenizer.eos_token_id is None:
            raise PromptDataError("the tokenizer has no end token to close a judgement with: add --apply_chat_template")

    def prompt(self, question: Question, known: Mapping[str, Media] | None = None) -> Prompt:
        """The question, to be answered. known: media by hash, which the question's parts name by {"sha256": hash}.

        Raises RowError if it cannot be written, or leaves no room for a token of judgement.
        """
        media = self._read(question, known or {})
        messages = as_messages([question.turn], media)
        if self.chat is not None:
            text, token_ids = self.chat.write(messages, media, answer_next=True)
        else:
            text = self._plain(messages, media)
            (token_ids,) = encode(self.tokenizer, [text], special_tokens=True)
        self._check_length(len(token_ids) + 1)
        return Prompt(question.uid, messages, text, tuple(token_ids), question.label, ROUTE, media=tuple(media))

    def example(self, question: Question) -> Example:
        """The question with its target, which is learnt. Raises RowError if there is none, or it cannot be written."""
        if not question.target:
            raise RowError("has no written judgement, which a judge that reasons learns from")
        media = self._read(question, {})
        messages = [*as_messages([question.turn], media), Message("assistant", question.target)]
        if self.chat is not None:
            marked = learnt_tokens(self.chat, messages, media, [1])
            token_ids, mask = [*marked.token_ids], [*marked.mask]
        else:
            token_ids, mask = self._continued(messages, media, question.target)
        self._check_length(len(token_ids))
        return Example(question.uid, array("i", token_ids), bytes(mask), tuple(media))

    def _read(self, question: Question, known: Mapping[str, Media]) -> tuple[Media, ...]:
        encoder = self.encoder if self.encoder is None else _Knowing(self.encoder, known)
        turns = [question.turn]
        return read_media(turns, encoder, root=question.root, urls=self.media_urls, limits=self.media_limits)

    def _plain(self, messages: Sequence[Message], media: Sequence[Media]) -> str:
        if media:
            raise RowError(f"has media ({media[0].modality}), which only --apply_chat_template can write out")
        return plain_text(messages) + "\n"

    def _continued(
        self, messages: Sequence[Message], media: Sequence[Media], target: str
    ) -> tuple[list[int], list[bool]]:
        text = self._plain(messages[:1], media)
        asked, whole = encode(self.tokenizer, [text, text + target], special_tokens=True)
        if whole[: len(asked)] != asked:
            raise RowError("cannot be masked: the judgement's first letters are one token with the end of the question")
        end = self.tokenizer.eos_token_id
        whole = whole if whole[-1:] == [end] else [*whole, end]
        return whole, [place >= max(1, len(asked)) for place in range(len(whole))]

    def _check_length(self, tokens: int) -> None:
        longest = self.form.max_len
        if longest is not None and tokens > longest:
            raise RowError(
                f"is a question of {tokens} tokens with its judgement, more than {self.max_len_flag} {longest}"
            )


class _Knowing:
    """An encoder that knows some media already, by their hash."""

    def __init__(self, encoder: Encoder, known: Mapping[str, Media]) -> None:
        self._encoder, self._known = encoder, known
        self.modalities: Collection[str] = encoder.modalities
        self.placeholders: Collection[int] = encoder.placeholders

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        known = self._known.get(str(part.get("sha256")))
        return known if known is not None else self._encoder.read(part, root=root, urls=urls)

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        return self._encoder.encode(messages, media, answer_next=answer_next)

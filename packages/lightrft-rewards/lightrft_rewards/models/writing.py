"""Conversations as a reward model reads them: the question and one whole answer, in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightrft_core.types import Media, Message
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_rewards.samples import Sample
from lightrft_strategy.data.chats import ChatWriter, MediaWriter, TextWriter
from lightrft_strategy.data.encoder import Encoder, as_messages, read_media
from lightrft_strategy.data.parts import MODALITIES, Medium, Turn, joined
from lightrft_strategy.data.rejected import PromptDataError, RowError
from lightrft_strategy.data.render import check_chat_template, encode, plain_text

NO_LIMITS: Mapping[str, int | None] = dict.fromkeys(MODALITIES)
BEFORE, BETWEEN = "Request: ", "\n\nResult: "
"""What stands around a question whose answer is shown or played in the same turn."""


class Writer:
    """Writes what is judged by a tokenizer, or by the encoder of a model that sees or hears.

    apply_chat_template: as a conversation in the chat template, its last turn the assistant's answer; without, the
    question, the answer and the end token, as text alone. An answer that is shown or played stands in one turn of the
    user with its question, and the passage goes up to where the assistant would begin.
    max_len: the most tokens of a passage; None: any number. Nothing is ever cut off. max_len_flag: what asked for it.
    media_urls: whether media are fetched from URLs; media_limits: how many a passage may have, by modality.
    Raises PromptDataError if the tokenizer cannot write so.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Encoder | None = None,
        *,
        apply_chat_template: bool = True,
        max_len: int | None = None,
        max_len_flag: str = "--max_len",
        media_urls: bool = False,
        media_limits: Mapping[str, int | None] = NO_LIMITS,
    ) -> None:
        self.tokenizer, self.encoder, self.max_len, self.max_len_flag = tokenizer, encoder, max_len, max_len_flag
        self.media_urls, self.media_limits = media_urls, media_limits
        self.chat: ChatWriter | None = None
        if apply_chat_template:
            if encoder is None:
                check_chat_template(tokenizer)
            self.chat = TextWriter(tokenizer) if encoder is None else MediaWriter(encoder, tokenizer)
        elif tokenizer.eos_token_id is None:
            raise PromptDataError("the tokenizer has no end token to close an answer with: add --apply_chat_template")

    def contest(self, comparison: Comparison) -> Contest:
        """A comparison's answers, each behind its question. Raises RowError if one cannot be written or is too long."""
        asked = list(comparison.asked)
        if comparison.criterion:
            question = asked.pop() if asked else Turn("user", ())
            criterion = ("\n\n" if question.pieces else "") + f"Criterion: {comparison.criterion}"
            asked.append(Turn(question.role, joined((*question.pieces, criterion))))
        media = self._read(asked, comparison)
        passages = tuple(self._answered(comparison, asked, media, answer) for answer in comparison.answers)
        return Contest(comparison.uid, passages, comparison.labels, comparison.source)

    def passage(self, sample: Sample) -> Passage:
        """A sample's chat with its response. Raises RowError if it cannot be written or is too long."""
        return self.write(sample_messages(sample), sample.media)[1]

    def write(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = False
    ) -> tuple[str, Passage]:
        """A whole conversation as text, in which media are not expanded, and as the model reads it.

        answer_next: up to where the assistant begins its next turn. Raises RowError as `contest` does.
        """
        _check_unicode(messages)
        if self.chat is not None:
            text, token_ids = self.chat.write(messages, media, answer_next=answer_next)
        else:
            text, token_ids = self._plain(messages, media)
        if self.max_len is not None and len(token_ids) > self.max_len:
            raise RowError(
                f"takes {len(token_ids)} tokens with its answer, more than {self.max_len_flag} {self.max_len}"
            )
        return text, Passage(tuple(token_ids), tuple(media))

    def _answered(
        self, comparison: Comparison, asked: Sequence[Turn], media: Sequence[Media], answer: Answer
    ) -> Passage:
        if not any(isinstance(piece, Medium) for piece in answer):
            turns = (*asked, Turn("assistant", answer))
            return self.write(as_messages(turns, media), media)[1]
        question = (BEFORE, *asked[-1].pieces, BETWEEN) if asked else ()
        turns = (*asked[:-1], Turn("user", joined((*question, *answer))))
        seen = (*media, *self._read([Turn("user", answer)], comparison))
        return self.write(as_messages(turns, seen), seen, answer_next=True)[1]

    def _read(self, turns: Sequence[Turn], comparison: Comparison) -> tuple[Media, ...]:
        return read_media(turns, self.encoder, root=comparison.root, urls=self.media_urls, limits=self.media_limits)

    def _plain(self, messages: Sequence[Message], media: Sequence[Media]) -> tuple[str, list[int]]:
        if media:
            raise RowError(f"has media ({media[0].modality}), which only --apply_chat_template can write out")
        *asked, answer = messages
        text = (plain_text(asked) if asked else "") + str(answer.content)
        (token_ids,) = encode(self.tokenizer, [text], special_tokens=True)
        end: int = self.tokenizer.eos_token_id
        return text, token_ids if token_ids[-1:] == [end] else [*token_ids, end]


def sample_messages(sample: Sample) -> list[Message]:
    """A sample's chat with its response, which is the assistant's."""
    asked = [Message(message["role"], message["content"]) for message in sample.messages]
    return [*(asked or [Message("user", sample.prompt)]), Message("assistant", sample.response)]


def _check_unicode(messages: Sequence[Message]) -> None:
    for message in messages:
        given = message.content
        texts = [given] if isinstance(given, str) else [part["text"] for part in given if part["type"] == "text"]
        try:
            "".join(texts).encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError("holds text that is not valid Unicode: half of a surrogate pair") from error

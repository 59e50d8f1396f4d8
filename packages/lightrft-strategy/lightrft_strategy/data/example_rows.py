"""From a row to the tokens of its examples, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from lightrft_core import Message
from lightrft_strategy.data.chats import ChatWriter, Marked, MediaWriter, TextWriter, learnt_tokens, media_of
from lightrft_strategy.data.conversation import read_prompt, read_turns
from lightrft_strategy.data.encoder import PLACEHOLDER_IN_TEXT, Encoder, as_messages, read_media
from lightrft_strategy.data.example_spec import ExampleSpec
from lightrft_strategy.data.parts import Turn
from lightrft_strategy.data.rejected import PromptDataError, RowError
from lightrft_strategy.data.render import check_chat_template, encode, plain_text
from lightrft_strategy.data.rows import Keys, Row, Table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RowReader: TypeAlias = Callable[[Row, Table], list[Marked]]
"""(row, its table) -> the tokens of each of its examples. Raises RowError."""


def row_reader(spec: ExampleSpec, tokenizer: PreTrainedTokenizerBase, encoder: Encoder | None) -> RowReader:
    """How rows are read. Raises PromptDataError if the tokenizer cannot write them so."""
    if spec.apply_chat_template:
        if encoder is None:
            check_chat_template(tokenizer)
        writer = TextWriter(tokenizer) if encoder is None else MediaWriter(encoder, tokenizer)
        return lambda row, table: list(_chats(row, table, spec, writer, encoder))
    end = tokenizer.eos_token_id
    if end is None:
        raise PromptDataError(
            "the tokenizer has no end token, by which the model would learn to stop: "
            "add --apply_chat_template if it has a chat template, or set its eos_token"
        )
    reserved = frozenset(encoder.placeholders) if encoder is not None else frozenset[int]()

    def read(row: Row, table: Table) -> list[Marked]:
        if spec.pretrain_mode:
            examples = _pieces(_document(row.content, table.keys, tokenizer, end), spec.max_len)
        else:
            examples = [_question(row.content, table.keys, spec, tokenizer, end)]
        if not all(reserved.isdisjoint(example.token_ids) for example in examples):
            raise RowError(PLACEHOLDER_IN_TEXT)
        return examples

    return read


def _chats(row: Row, table: Table, spec: ExampleSpec, writer: ChatWriter, encoder: Encoder | None) -> Iterator[Marked]:
    """An example for the answers of a conversation; with media between them, one for each stretch without.

    What is seen or heard is read before the first answer of its stretch, and answers of earlier ones are read only.
    """
    modalities = encoder.modalities if encoder is not None else ()
    dialogue, about = read_dialogue(row.content, table.keys, spec, modalities), spec.prompts
    root = about.media_folder or table.folder
    media = read_media(dialogue, encoder, root=root, urls=spec.media_urls, limits=about.media_limits)
    messages = as_messages(dialogue, media)
    turns = [number for number, message in enumerate(messages) if message.role == "assistant"]
    for stretch in _stretches(messages, turns if spec.multiturn else turns[-1:]):
        read = messages[: stretch[-1] + 1]
        yield learnt_tokens(writer, read, media[: media_of(read)], stretch)


def _stretches(messages: Sequence[Message], turns: Sequence[int]) -> list[list[int]]:
    """The turns, cut wherever media stand between two of them."""
    return [list(group) for _, group in groupby(turns, key=lambda turn: media_of(messages[:turn]))]


def _question(
    content: Mapping[str, Any], keys: Keys, spec: ExampleSpec, tokenizer: PreTrainedTokenizerBase, end: int
) -> Marked:
    """A question as plain text, and its answer behind it with the end token."""
    *asked, answer = read_dialogue(content, keys, spec, ())
    if any(turn.media for turn in asked):
        raise RowError("has media, which only --apply_chat_template can write out")
    prompt = plain_text(as_messages(asked, ()))
    before, whole = encode(tokenizer, [prompt, prompt + answer.text], special_tokens=True)
    if whole[: len(before)] != before:
        raise RowError(
            "cannot be masked: the answer's first letters are one token with the end of the prompt; end the prompt "
            "without a blank (--input_template) and begin the answer with one, or use --apply_chat_template"
        )
    whole = [*whole, end] if whole[-1:] != [end] else whole
    return Marked(whole, [place >= max(1, len(before)) for place in range(len(whole))])


def _document(content: Mapping[str, Any], keys: Keys, tokenizer: PreTrainedTokenizerBase, end: int) -> list[int]:
    text = _text(content, keys.input, "--input_key")
    _check_unicode([text])
    (ids,) = encode(tokenizer, [text], special_tokens=True)
    return [*ids, end] if ids[-1:] != [end] else ids


def _pieces(document: Sequence[int], max_len: int) -> list[Marked]:
    """A document in pieces of at most max_len tokens, each of which begins with the last token of the one before."""
    starts = range(0, max(1, len(document) - 1), max_len - 1)
    parts = [document[start : start + max_len] for start in starts]
    return [Marked(part, [place > 0 for place in range(len(part))]) for part in parts]


def read_dialogue(content: Mapping[str, Any], keys: Keys, spec: ExampleSpec, modalities: Collection[str]) -> list[Turn]:
    """The chat of a row, which ends with the assistant's answer.

    The answer stands under keys.label; or, where the row has no such key, the input is a list of messages that ends
    with it. What comes before is read as a prompt is; modalities: what the model reads besides text.
    Raises RowError if there is no answer.
    """
    given = content.get(keys.input)
    if content.get(keys.label) is None and isinstance(given, list) and given:
        *asked, last = given
        (answer,) = read_turns({keys.input: [last]}, keys)
        if answer.role != "assistant":
            raise RowError(f'its conversation "{keys.input}" does not end with an answer of the assistant')
        content = {**content, keys.input: asked}
    else:
        answer = Turn("assistant", (_text(content, keys.label, "--output_key"),))
    if answer.media or not answer.text:
        raise RowError("has an answer that is " + ("not text alone" if answer.media else "empty"))
    dialogue = [*read_prompt(content, keys, spec.system_prompt, spec.input_template, modalities), answer]
    _check_unicode(turn.text for turn in dialogue)
    return dialogue


def _text(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key)
    if isinstance(value, str) and value:
        return value
    present = ", ".join(f'"{name}"' for name in content) or "nothing"
    found = f"is of type {type(value).__name__}" if value else "is empty" if key in content else "is missing"
    raise RowError(f'its text under "{key}" {found} (it has {present}): look at {where}')


def _check_unicode(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError("holds text that is not valid Unicode: half of a surrogate pair") from error

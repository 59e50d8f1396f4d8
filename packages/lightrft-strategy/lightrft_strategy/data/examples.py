"""Supervised data for a run: every source read, every row Examples or a Rejected, and their order."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

from lightrft_core import Example, Message
from lightrft_strategy.data.chats import ChatWriter, Marked, MediaWriter, TextWriter, learnt_tokens, media_of
from lightrft_strategy.data.conversation import read_prompt, read_turns
from lightrft_strategy.data.encoder import Encoder, as_messages, read_media
from lightrft_strategy.data.example_spec import ExampleSpec, called_as_flags
from lightrft_strategy.data.order import RowOrder
from lightrft_strategy.data.parts import Turn
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.render import check_chat_template, encode, plain_text
from lightrft_strategy.data.rows import Keys, Row, Table, unique_names
from lightrft_strategy.data.sources import open_source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REPORT_EVERY = 1024

Reader = Callable[[Row, Table], list[Marked]]
"""A row -> its examples' tokens, which of them are learnt, and media. Raises RowError."""


@dataclass(frozen=True)
class LoadedExamples:
    """What was read.

    sources: the examples of each source, in the order of the flag; none is empty.
    rejected: the rows that could not be used.
    """

    sources: list[list[Example]]
    rejected: list[Rejected]


class ExampleStream:
    """Examples by step: a pure function of the step, so that a resumed run reads what it would have read.

    The run is one sequence of num_epochs times as many positions as there are examples, in a RowOrder, cut into steps
    of per_step; the last step may be smaller.
    """

    num_steps: int

    def __init__(
        self, sources: Sequence[Sequence[Example]], probs: Sequence[float] | None, per_step: int, epochs: int, seed: int
    ) -> None:
        self._sources, self._per_step = sources, per_step
        self._num_positions = sum(map(len, sources)) * epochs
        self._order = RowOrder([len(source) for source in sources], probs, seed, self._num_positions)
        self.num_steps = -(-self._num_positions // per_step)

    def batch(self, step: int) -> list[Example]:
        """The examples of one step, 1 being the first."""
        start = (step - 1) * self._per_step
        places = map(self._order.place, range(start, min(start + self._per_step, self._num_positions)))
        return [self._sources[place.source][place.row] for place in places]


def load_examples(
    spec: ExampleSpec,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> LoadedExamples:
    """Read every source; a row that cannot be used is kept as Rejected and the rest goes on.

    An example's uid is "<file name, dataset id or task>:<row>", with "/2" and so on behind it for further examples of
    one row. encoder: of a model that sees or hears; None for one of text alone, of which rows with media are refused.
    progress: called with the number of rows read so far.
    Raises PromptDataError if a source cannot be read, has no rows, or not one that can be used.
    """
    with called_as_flags():
        read = _reader(spec, tokenizer, encoder)
        opened = [
            open_source(source, split=spec.dataset_split, keys=spec.prompts.keys, count=spec.max_samples)
            for source in spec.sources
        ]
        names = iter(unique_names([table for tables in opened for table in tables]))
        named = [[(table, next(names)) for table in tables] for tables in opened]
        loaded, num_read = LoadedExamples([], []), 0
        for source, tables in zip(spec.sources, named, strict=True):
            examples: list[Example] = []
            rows = chain.from_iterable(_examples(table, name, spec, read) for table, name in tables)
            rejected_before = len(loaded.rejected)
            for row in islice(rows, spec.max_samples):
                num_read += 1
                if isinstance(row, Rejected):
                    loaded.rejected.append(row)
                else:
                    examples += row
                if progress is not None and num_read % _REPORT_EVERY == 0:
                    progress(num_read)
            if not examples:
                raise PromptDataError(_nothing_usable(source, loaded.rejected[rejected_before:]), loaded.rejected)
            loaded.sources.append(examples)
    return loaded


def _examples(table: Table, uid_name: str, spec: ExampleSpec, read: Reader) -> Iterator[list[Example] | Rejected]:
    for row in table.read():
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            yield [
                _example(f"{uid_name}:{row.number}{f'/{number}' if number > 1 else ''}", marked, spec)
                for number, marked in enumerate(read(row, table), start=1)
            ]
        except RowError as error:
            yield Rejected(table.source, row.number, str(error), row.whole)


def _example(uid: str, marked: Marked, spec: ExampleSpec) -> Example:
    if len(marked.token_ids) > spec.max_len:
        seen = ", those of its media among them" if marked.media else ""
        raise RowError(f"has {len(marked.token_ids)} tokens{seen}, more than --max_len {spec.max_len}")
    if not any(marked.mask) or marked.mask[0]:
        raise RowError("has no token to learn that follows another")
    return Example(uid, array("i", marked.token_ids), bytes(marked.mask), tuple(marked.media))


def _reader(spec: ExampleSpec, tokenizer: PreTrainedTokenizerBase, encoder: Encoder | None) -> Reader:
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
    if spec.pretrain_mode:
        return lambda row, table: _pieces(_document(row.content, table.keys, tokenizer, end), spec.max_len)
    return lambda row, table: [_question(row.content, table.keys, spec, tokenizer, end)]


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


def read_dialogue(
    content: Mapping[str, Any], keys: Keys, system_prompt: str | None, template: str | None
) -> list[Turn]:
    """The chat of a row, which ends with the assistant's answer.

    The answer stands under keys.label; or, where the row has no such key, the input is a list of messages that ends
    with it. What comes before is read as a prompt is; modalities: what the model reads besides text. Raises RowError if there is no answer.
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


def _nothing_usable(source: str, rejected: list[Rejected]) -> str:
    if not rejected:
        return f"{source} has no rows: name another source with --dataset"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return (
        f"{source}: not one of its {len(rejected)} rows can be used; the first:{reasons}\n"
        "Correct the rows, or the flag that reads them (--dataset, --input_key, --output_key, --max_len)."
    )

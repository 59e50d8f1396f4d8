"""Prompt data for a run: every source read, every row a Prompt or a Rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from lightrft_core.types import Media, Message, Prompt
from lightrft_strategy.data.conversation import read_label, read_prompt, read_route
from lightrft_strategy.data.encoder import PLACEHOLDER_IN_TEXT, Encoder, as_messages, read_media
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.render import check_chat_template, encode, plain_text, templated_text
from lightrft_strategy.data.rows import Row, Table, unique_names
from lightrft_strategy.data.sources import open_source
from lightrft_strategy.data.spec import PromptSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 1024


@dataclass(frozen=True)
class LoadedPrompts:
    """What was read.

    sources: the prompts of each source, in the order of prompt_data; none is empty.
    rejected: the rows that could not be used.
    warnings: what a person should look at, a sentence each.
    """

    sources: list[list[Prompt]]
    rejected: list[Rejected]
    warnings: list[str]


@dataclass(frozen=True)
class _Draft:
    """A prompt that may only lack its tokens. token_ids: None until then."""

    source: str
    row: Row
    uid: str
    messages: tuple[Message, ...]
    media: tuple[Media, ...]
    text: str
    token_ids: tuple[int, ...] | None
    label: Any
    route: str


def load_prompts(
    spec: PromptSpec,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> LoadedPrompts:
    """Read every source; a row that cannot be used is kept as Rejected and the rest goes on.

    A prompt's uid is "<file name, dataset id or task>:<row>", with more of the path where two sources share a name.
    encoder: of a model that sees or hears; None for one of text alone, of which rows with media are refused.
    progress: called with the number of rows read so far.
    Raises PromptDataError if a source cannot be read, has no rows, or not one that can be used.
    """
    if spec.apply_chat_template and encoder is None:
        check_chat_template(tokenizer)
    opened = [
        open_source(source, split=spec.prompt_split, keys=spec.keys, count=spec.max_samples) for source in spec.sources
    ]
    uid_names = iter(unique_names([table for tables in opened for table in tables]))
    named = [[(table, next(uid_names)) for table in tables] for tables in opened]

    loaded = LoadedPrompts([], [], [])
    num_read = 0
    for source, tables in zip(spec.sources, named, strict=True):
        prompts: list[Prompt] = []
        rejected: list[Rejected] = []
        rows = chain.from_iterable(_drafts(table, name, spec, tokenizer, encoder) for table, name in tables)
        limited = islice(rows, spec.max_samples)
        while chunk := list(islice(limited, _CHUNK)):
            finished = _finish(chunk, spec, tokenizer, encoder)
            prompts.extend(item for item in finished if isinstance(item, Prompt))
            rejected.extend(item for item in finished if isinstance(item, Rejected))
            num_read += len(chunk)
            if progress is not None:
                progress(num_read)
        loaded.rejected.extend(rejected)
        if not prompts:
            raise PromptDataError(_nothing_usable(source, rejected), loaded.rejected)
        loaded.sources.append(prompts)
        loaded.warnings.extend(_label_warnings(source, prompts))
    return loaded


def _drafts(
    table: Table, uid_name: str, spec: PromptSpec, tokenizer: PreTrainedTokenizerBase, encoder: Encoder | None
) -> Iterator[_Draft | Rejected]:
    for row in table.read():
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            yield _draft(table, row, f"{uid_name}:{row.number}", spec, tokenizer, encoder)
        except RowError as error:
            yield Rejected(table.source, row.number, str(error), row.whole)


def _draft(
    table: Table, row: Row, uid: str, spec: PromptSpec, tokenizer: PreTrainedTokenizerBase, encoder: Encoder | None
) -> _Draft:
    content = row.content
    modalities = encoder.modalities if encoder is not None else ()
    turns = read_prompt(content, table.keys, spec.system_prompt, spec.input_template, modalities)
    label, route = read_label(content, table.keys), read_route(content, table.keys)
    root = spec.media_folder or table.folder
    media = read_media(turns, encoder, root=root, urls=spec.media_urls, limits=spec.media_limits)
    messages = as_messages(turns, media)
    text, token_ids = _written(messages, media, spec, tokenizer, encoder)
    return _Draft(table.source, row, uid, messages, media, text, token_ids, label, route)


def _written(
    messages: tuple[Message, ...],
    media: tuple[Media, ...],
    spec: PromptSpec,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder | None,
) -> tuple[str, tuple[int, ...] | None]:
    """The prompt as text, and its tokens where they come with it."""
    if not spec.apply_chat_template:
        if media:
            raise RowError(f"has media ({media[0].modality}), which only --apply_chat_template can write out")
        return plain_text(messages), None
    if encoder is None:
        return templated_text(messages, tokenizer), None
    try:
        return encoder.encode(messages, media)
    except ValueError as error:
        raise RowError(f"cannot be written as the model reads it: {error}") from error


def _finish(
    chunk: list[_Draft | Rejected], spec: PromptSpec, tokenizer: PreTrainedTokenizerBase, encoder: Encoder | None
) -> list[Prompt | Rejected]:
    """The chunk with its drafts tokenised, all in one call."""
    texts = [item.text for item in chunk if isinstance(item, _Draft) and item.token_ids is None]
    token_ids = iter(encode(tokenizer, texts, special_tokens=not spec.apply_chat_template))
    reserved = frozenset(encoder.placeholders) if encoder is not None else frozenset[int]()
    return [item if isinstance(item, Rejected) else _prompt(item, token_ids, spec, reserved) for item in chunk]


def _prompt(
    draft: _Draft, tokenised: Iterator[list[int]], spec: PromptSpec, reserved: frozenset[int]
) -> Prompt | Rejected:
    """tokenised: the tokens of each draft that came without, in order. reserved: tokens that stand for media alone."""
    token_ids = tuple(next(tokenised)) if draft.token_ids is None else draft.token_ids
    length, limit = len(token_ids), spec.prompt_max_len
    if length == 0:
        return Rejected(draft.source, draft.row.number, "has a prompt of no tokens", draft.row.whole)
    if not draft.media and not reserved.isdisjoint(token_ids):
        return Rejected(draft.source, draft.row.number, PLACEHOLDER_IN_TEXT, draft.row.whole)
    if limit is not None and length > limit:
        seen = ", those of its media among them" if draft.media else ""
        reason = f"has a prompt of {length} tokens{seen}, more than --prompt_max_len {limit}"
        return Rejected(draft.source, draft.row.number, reason, draft.row.whole)
    return Prompt(draft.uid, draft.messages, draft.text, token_ids, draft.label, draft.route, media=draft.media)


def _nothing_usable(source: str, rejected: list[Rejected]) -> str:
    if not rejected:
        return f"{source} has no rows: name another source with --prompt_data"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return (
        f"{source}: not one of its {len(rejected)} rows can be used; the first:{reasons}\n"
        "Correct the rows, or the flag that reads them (--prompt_data, --input_key, --prompt_max_len)."
    )


def _label_warnings(source: str, prompts: list[Prompt]) -> list[str]:
    unlabelled = [prompt for prompt in prompts if prompt.label is None]
    if not unlabelled:
        return []
    return [
        f"{source}: {len(unlabelled)} of {len(prompts)} prompts have no label (first: {unlabelled[0].uid}); "
        "set --label_key if their answers are under another key"
    ]

"""Prompt data for a run: every source read, every row a Prompt or a Rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from lightrft_core.types import Message, Prompt
from lightrft_strategy.data.conversation import RowError, read_label, read_messages, read_route
from lightrft_strategy.data.rejected import PromptDataError, Rejected
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
    """A prompt that only lacks its tokens."""

    source: str
    row: Row
    uid: str
    messages: tuple[Message, ...]
    text: str
    label: Any
    route: str


def load_prompts(
    spec: PromptSpec, tokenizer: PreTrainedTokenizerBase, *, progress: Callable[[int], None] | None = None
) -> LoadedPrompts:
    """Read every source; a row that cannot be used is kept as Rejected and the rest goes on.

    A prompt's uid is "<file name, dataset id or task>:<row>", with more of the path where two sources share a name.
    progress: called with the number of rows read so far.
    Raises PromptDataError if a source cannot be read, has no rows, or not one that can be used.
    """
    if spec.apply_chat_template:
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
        rows = chain.from_iterable(_drafts(table, name, spec, tokenizer) for table, name in tables)
        limited = islice(rows, spec.max_samples)
        while chunk := list(islice(limited, _CHUNK)):
            finished = _finish(chunk, spec, tokenizer)
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
    table: Table, uid_name: str, spec: PromptSpec, tokenizer: PreTrainedTokenizerBase
) -> Iterator[_Draft | Rejected]:
    for row in table.read():
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            messages = read_messages(row.content, table.keys, spec.system_prompt, spec.input_template)
            text = templated_text(messages, tokenizer) if spec.apply_chat_template else plain_text(messages)
            label, route = read_label(row.content, table.keys), read_route(row.content, table.keys)
        except RowError as error:
            yield Rejected(table.source, row.number, str(error), row.content)
            continue
        yield _Draft(table.source, row, f"{uid_name}:{row.number}", messages, text, label, route)


def _finish(
    chunk: list[_Draft | Rejected], spec: PromptSpec, tokenizer: PreTrainedTokenizerBase
) -> list[Prompt | Rejected]:
    """The chunk with its drafts tokenised, all in one call."""
    texts = [item.text for item in chunk if isinstance(item, _Draft)]
    token_ids = iter(encode(tokenizer, texts, special_tokens=not spec.apply_chat_template))
    return [item if isinstance(item, Rejected) else _prompt(item, next(token_ids), spec) for item in chunk]


def _prompt(draft: _Draft, token_ids: list[int], spec: PromptSpec) -> Prompt | Rejected:
    length, limit = len(token_ids), spec.prompt_max_len
    if length == 0:
        return Rejected(draft.source, draft.row.number, "has a prompt of no tokens", draft.row.content)
    if limit is not None and length > limit:
        reason = f"has a prompt of {length} tokens, more than --prompt_max_len {limit}"
        return Rejected(draft.source, draft.row.number, reason, draft.row.content)
    return Prompt(draft.uid, draft.messages, draft.text, tuple(token_ids), draft.label, draft.route)


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

"""Prompt data for a run: every source read, every row a Prompt or a Rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from lightrft_core.types import Message, Prompt

from lightrft_strategy.data.conversation import RowError, check_input_template, read_label, read_messages, read_route
from lightrft_strategy.data.mixture import mixture_weights
from lightrft_strategy.data.rejected import PromptDataError, Rejected
from lightrft_strategy.data.render import check_chat_template, encode, plain_text, templated_text
from lightrft_strategy.data.rows import Keys, Row, Table, unique_names
from lightrft_strategy.data.sources import open_source, split_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 1024


@dataclass(frozen=True)
class PromptSpec:
    """Where prompts come from and how they are written; each field is the flag of the same name.

    prompt_data: sources, comma separated: a .jsonl, .json, .csv or .parquet file, a folder of those or of a saved
        dataset, a dataset id (`openai/gsm8k?name=main`), a task (`reasoning_gym:chain_sum?size=500&seed=7`).
    prompt_split: which split of a dataset, or of a folder whose files are named for their splits.
    prompt_data_probs: the share of each source in the run, of any sum; None: every row equally often.
    input_key, label_key, route_key: where a row keeps its prompt, its label, its reward route.
    apply_chat_template: write prompts in the tokenizer's chat template.
    system_prompt: a system message before each prompt that has none of its own; "" for none.
    input_template: written around the input, which goes in its `{}`; other braces are doubled.
    prompt_max_len: tokens a prompt may have; None for no limit.
    max_samples: read only this many first rows of each source, bad ones counted; None for all.

    Raises PromptDataError, naming the flag, where a field cannot be right.
    """

    prompt_data: str
    prompt_split: str = "train"
    prompt_data_probs: tuple[float, ...] | None = None
    input_key: str = "input"
    label_key: str = "label"
    route_key: str = "route"
    apply_chat_template: bool = False
    system_prompt: str = ""
    input_template: str = "{}"
    prompt_max_len: int | None = 1024
    max_samples: int | None = None

    def __post_init__(self) -> None:
        sources = split_sources(self.prompt_data)
        if self.prompt_data_probs is not None:
            mixture_weights(self.prompt_data_probs, len(sources))
        check_input_template(self.input_template)
        if self.prompt_max_len is not None and self.prompt_max_len < 1:
            raise PromptDataError(f"--prompt_max_len must be at least 1 token, not {self.prompt_max_len}")
        if self.max_samples is not None and self.max_samples < 1:
            raise PromptDataError(f"--max_samples must be at least 1 row, not {self.max_samples}")


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


@dataclass
class _Source:
    """What became of one source's rows."""

    prompts: list[Prompt] = field(default_factory=list[Prompt])
    rejected: list[Rejected] = field(default_factory=list[Rejected])


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
    names = split_sources(spec.prompt_data)
    keys = Keys(spec.input_key, spec.label_key, spec.route_key)
    opened = [open_source(name, split=spec.prompt_split, keys=keys, count=spec.max_samples) for name in names]
    uid_names = iter(unique_names([table for tables in opened for table in tables]))
    loaded = LoadedPrompts([], [], [])
    num_read = 0
    for name, tables in zip(names, opened, strict=True):
        source = _Source()
        rows = chain.from_iterable(_drafts(table, next(uid_names), spec, tokenizer) for table in tables)
        limited = islice(rows, spec.max_samples)
        while chunk := list(islice(limited, _CHUNK)):
            _finish(chunk, source, spec, tokenizer)
            num_read += len(chunk)
            if progress is not None:
                progress(num_read)
        loaded.rejected.extend(source.rejected)
        if not source.prompts:
            raise PromptDataError(_nothing_usable(name, source.rejected), loaded.rejected)
        loaded.sources.append(source.prompts)
        loaded.warnings.extend(_label_warnings(name, source.prompts))
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
    chunk: list[_Draft | Rejected], source: _Source, spec: PromptSpec, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Tokenise a chunk in one call and put each row where it belongs."""
    texts = [item.text for item in chunk if isinstance(item, _Draft)]
    token_ids = iter(encode(tokenizer, texts, special_tokens=not spec.apply_chat_template))
    for item in chunk:
        if isinstance(item, Rejected):
            source.rejected.append(item)
            continue
        ids = next(token_ids)
        reason = _wrong_length(len(ids), spec.prompt_max_len)
        if reason:
            source.rejected.append(Rejected(item.source, item.row.number, reason, item.row.content))
        else:
            source.prompts.append(Prompt(item.uid, item.messages, item.text, tuple(ids), item.label, item.route))


def _wrong_length(length: int, limit: int | None) -> str:
    if length == 0:
        return "its prompt has no tokens"
    if limit is not None and length > limit:
        return f"its prompt has {length} tokens, more than --prompt_max_len {limit}"
    return ""


def _nothing_usable(name: str, rejected: list[Rejected]) -> str:
    if not rejected:
        return f"{name} has no rows: name another source with --prompt_data"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return (
        f"{name}: not one of its {len(rejected)} rows can be used; the first:{reasons}\n"
        "Correct the rows, or the flag that reads them (--prompt_data, --input_key, --prompt_max_len)."
    )


def _label_warnings(name: str, prompts: list[Prompt]) -> list[str]:
    unlabelled = [prompt for prompt in prompts if prompt.label is None]
    if not unlabelled:
        return []
    return [
        f"{name}: {len(unlabelled)} of {len(prompts)} prompts have no label (first: {unlabelled[0].uid}); "
        "set --label_key if their answers are under another key"
    ]

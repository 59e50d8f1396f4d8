"""Supervised data for a run: every source read, every row Examples or a Rejected, and their order."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, TypeVar

from lightrft_core import Example
from lightrft_strategy.data.chats import Marked
from lightrft_strategy.data.encoder import Encoder
from lightrft_strategy.data.example_rows import RowReader, row_reader
from lightrft_strategy.data.example_spec import ExampleSpec, called_as_flags
from lightrft_strategy.data.order import RowOrder
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.rows import Table, unique_names
from lightrft_strategy.data.sources import open_source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

E = TypeVar("E")

_REPORT_EVERY = 1024


@dataclass(frozen=True)
class LoadedExamples:
    """What was read.

    sources: the examples of each source, in the order of the flag; none is empty.
    rejected: the rows that could not be used.
    """

    sources: list[list[Example]]
    rejected: list[Rejected]


class ExampleStream(Generic[E]):
    """Examples of any kind by step: a pure function of the step, so that a resumed run reads what it would have read.

    The run is one sequence of num_epochs times as many positions as there are examples, in a RowOrder, cut into steps
    of per_step; the last step may be smaller.
    """

    num_steps: int

    def __init__(
        self, sources: Sequence[Sequence[E]], probs: Sequence[float] | None, per_step: int, epochs: int, seed: int
    ) -> None:
        self._sources, self._per_step = sources, per_step
        self._num_positions = sum(map(len, sources)) * epochs
        self._order = RowOrder([len(source) for source in sources], probs, seed, self._num_positions)
        self.num_steps = -(-self._num_positions // per_step)

    def batch(self, step: int) -> list[E]:
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
        read = row_reader(spec, tokenizer, encoder)
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


def _examples(table: Table, uid_name: str, spec: ExampleSpec, read: RowReader) -> Iterator[list[Example] | Rejected]:
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


def _nothing_usable(source: str, rejected: list[Rejected]) -> str:
    if not rejected:
        return f"{source} has no rows: name another source with --dataset"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return (
        f"{source}: not one of its {len(rejected)} rows can be used; the first:{reasons}\n"
        "Correct the rows, or the flag that reads them (--dataset, --input_key, --output_key, --max_len)."
    )

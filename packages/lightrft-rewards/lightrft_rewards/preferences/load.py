"""All that `--train_data` or `--eval_data` names, read into comparisons: every row is one, or a Rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from lightrft_rewards.preferences.comparison import Comparison, side_by_chance
from lightrft_rewards.preferences.handler import Handler, Sheet
from lightrft_rewards.preferences.keys import PreferenceKeys
from lightrft_rewards.preferences.spec import Source, split_preferences
from lightrft_strategy.data.rejected import PromptDataError, Rejected, flags_called
from lightrft_strategy.data.rows import unique_names

_REPORT_EVERY = 1024


@dataclass(frozen=True)
class LoadedComparisons:
    """What was read. comparisons: of all sources, in the order of the flag. rejected: what could not be used."""

    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    rejected: list[Rejected] = field(default_factory=list[Rejected])

    @property
    def heads(self) -> tuple[str, ...]:
        """What is judged in them, in the order in which it first appears."""
        return tuple(dict.fromkeys(head for each in self.comparisons for head in each.labels))


def load_comparisons(
    data: str,
    *,
    seed: int | None = 0,
    split: str = "train",
    max_samples: int | None = None,
    heads: Sequence[str] | None = None,
    keys: PreferenceKeys | None = None,
    media_root: Path | None = None,
    flag: str = "--train_data",
    progress: Callable[[int], None] | None = None,
) -> LoadedComparisons:
    """Read every source; a row that cannot be used is kept as Rejected, which names file, row and what is wrong.

    data: sources, comma separated, each a handler's name and a path, ``hpdv3:train.json``, or a path alone, of plain
        preference rows; paths are files, folders and data sets, as those of prompts.
    seed: of the order in which the answers of each comparison stand (see side_by_chance); None: as in the file.
    split: which part of a data set, or of a folder whose files are named for their splits.
    max_samples: read only so many of each source, bad ones counted; None for all.
    heads: keep the labels of these alone; None for all. keys: of plain rows.
    media_root: the folder that paths of media start from; None: where the data set has them.
    flag: how errors call `data`, and with "split" for its last word the split.
    progress: called with the number read so far.

    A comparison's uid is "<file name or data set>:<row>"; its source is the handler's name, or the last part of the
    path of plain rows. Their media are not read yet.
    Raises PromptDataError if a source cannot be read, has no rows, or not one that can be used.
    """
    loaded, number = LoadedComparisons(), 0
    with flags_called(_names(flag)):
        sources = split_preferences(data, keys or PreferenceKeys())
        opened = [source.handler.open(source.path, split=split) for source in sources]
        names = iter(unique_names([table for tables in opened for table in tables]))
        for source, title, tables in zip(sources, _titles(sources), opened, strict=True):
            sheets = [Sheet(table, next(names), media_root) for table in tables]
            rejected: list[Rejected] = []
            before = len(loaded.comparisons)
            for found in islice(_wanted(source.handler, sheets, title, heads), max_samples):
                number += 1
                if isinstance(found, Rejected):
                    rejected.append(found)
                else:
                    loaded.comparisons.append(found if seed is None else side_by_chance(found, seed))
                if progress is not None and number % _REPORT_EVERY == 0:
                    progress(number)
            loaded.rejected.extend(rejected)
            if len(loaded.comparisons) == before:
                raise PromptDataError(_nothing_usable(source, rejected), loaded.rejected)
    return loaded


def _wanted(
    handler: Handler, sheets: Sequence[Sheet], title: str, heads: Sequence[str] | None
) -> Iterator[Comparison | Rejected]:
    """What the handler finds, named for its source, without heads that are not wanted."""
    for found in handler.read(sheets):
        if isinstance(found, Rejected):
            yield found
            continue
        kept = {head: numbers for head, numbers in found.labels.items() if heads is None or head in heads}
        if kept:
            yield replace(found, source=title, labels=kept)
        else:
            yield _without_head(found, sheets, heads or ())


def _without_head(comparison: Comparison, sheets: Sequence[Sheet], heads: Sequence[str]) -> Rejected:
    name, _, row = comparison.uid.rpartition(":")
    source = next((sheet.table.source for sheet in sheets if sheet.name == name), name)
    reason = f"has no label of {', '.join(heads)}: its heads are {', '.join(comparison.labels) or 'none'}"
    shown = {"uid": comparison.uid, "asked": [turn.text for turn in comparison.asked]}
    return Rejected(source, int(row) if row.isdecimal() else 0, reason, shown)


def _titles(sources: Sequence[Source]) -> list[str]:
    """How each source is called: shortly, or where two would be called alike in full."""
    counts = Counter(source.title for source in sources)
    return [source.title if counts[source.title] == 1 else source.whole for source in sources]


def _nothing_usable(source: Source, rejected: Sequence[Rejected]) -> str:
    if not rejected:
        return f"{source.whole} has no rows: name another source with --prompt_data"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return (
        f"{source.whole}: not one of its {len(rejected)} rows can be used; the first:{reasons}\n"
        "Correct the rows, or the flag that reads them (--prompt_data)."
    )


def _names(flag: str) -> dict[str, str]:
    """What prompts are named by, and what the same is called of comparisons."""
    return {
        ", and set its share with --prompt_data_probs or --num_episodes": "",
        "--prompt_split": f"{flag.removesuffix('data')}split",
        "--prompt_data": flag,
    }

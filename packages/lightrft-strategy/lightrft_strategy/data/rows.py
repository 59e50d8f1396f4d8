"""Raw rows and where they come from, before anything is known of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lightrft_strategy.data.rejected import PromptDataError, Rejected


@dataclass(frozen=True)
class Row:
    """One raw row.

    number: as in `Rejected.row`. content: in the keys of its table. original: as it was before it was brought into
    these, None if it never was otherwise.
    """

    number: int
    content: Mapping[str, Any]
    original: Mapping[str, Any] | None = None

    @property
    def whole(self) -> Mapping[str, Any]:
        """The row as it came."""
        return self.content if self.original is None else self.original


@dataclass(frozen=True)
class Keys:
    """Under which keys a row holds its prompt, its label, its reward route and its media, one or a list of each."""

    input: str = "input"
    label: str = "label"
    route: str = "route"
    images: str = "images"
    videos: str = "videos"
    audios: str = "audios"


RowReader: TypeAlias = Callable[[], Iterator[Row | Rejected]]


@dataclass(frozen=True)
class Table:
    """Rows numbered together: one file, dataset or task.

    source: how errors name it.
    names: what uids may call it, shortest first; the last one tells it from every other table.
    keys: where its rows keep what.
    read: yields its rows in order; raises PromptDataError if it cannot be read at all.
    folder: what the paths of its media are relative to, and may not leave; None where it lies in no folder of its own,
    so that no path of a row is read (but below PromptSpec.media_root).
    """

    source: str
    names: tuple[str, ...]
    keys: Keys
    read: RowReader
    folder: Path | None = None


def unique_names(tables: Sequence[Table]) -> list[str]:
    """The shortest name of each table that no other one shares.

    Raises PromptDataError if two tables are the same.
    """
    level = [0] * len(tables)
    while True:
        names = [table.names[depth] for table, depth in zip(tables, level, strict=True)]
        counts = Counter(names)
        shared = [i for i, name in enumerate(names) if counts[name] > 1]
        if not shared:
            return names
        longer = [i for i in shared if level[i] + 1 < len(tables[i].names)]
        if not longer:
            raise PromptDataError(
                f"{tables[shared[0]].source} is given twice: name it once, "
                "and set its share with --prompt_data_probs or --num_episodes"
            )
        for i in longer:
            level[i] += 1

"""What reads the files of one data set: a handler, and what most of them are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lightrft_rewards.preferences.checking import checked
from lightrft_rewards.preferences.comparison import Comparison
from lightrft_strategy.data.rejected import Rejected, RowError
from lightrft_strategy.data.rows import Keys, Row, Table
from lightrft_strategy.data.sources import open_source


@dataclass(frozen=True)
class Place:
    """Where a row stands. uid: its name. folder: of its file, None for a data set of the hub.

    media_root: the folder that the user says media lie in, which goes before all that a handler knows.
    """

    uid: str
    folder: Path | None = None
    media_root: Path | None = None

    def root(self, relative: str, *, up: int = 0) -> Path | None:
        """The folder that paths of media start from: the user's, or the nearest of the file's own and of so many above
        it in which there is the file `relative`; the file's own where there is none."""
        return self.holder(relative, up=up) or self.media_root or self.folder

    def holder(self, relative: str, *, up: int = 0) -> Path | None:
        """That folder if the file is there; else None."""
        if self.media_root is not None:
            candidates = [self.media_root]
        else:
            candidates = [] if self.folder is None else [self.folder, *self.folder.parents[:up]]
        return next((folder for folder in candidates if _exists(folder / relative)), None)


@dataclass(frozen=True)
class Sheet:
    """A table to read. name: what uids call it. media_root: as in Place."""

    table: Table
    name: str
    media_root: Path | None = None

    def place(self, row: object) -> Place:
        """Where the row of this number (or what else names it) stands."""
        return Place(f"{self.name}:{row}", self.table.folder, self.media_root)


Reader: TypeAlias = Callable[[Mapping[str, Any], Place], Comparison]
"""(a row as it is published, where it stands) -> the comparison; its source is filled in later. Raises RowError."""


def open_tables(path: str, *, split: str) -> list[Table]:
    """The tables of a file, a folder or a data set. Raises PromptDataError if there is none."""
    return open_source(path, split=split, keys=Keys(), count=None)


@dataclass(frozen=True)
class Handler:
    """Reads one data set; a foreign package offers one as an entry point of the group ``lightrft.preferences``.

    read: all comparisons of the tables, in order, and the rows that cannot be used.
    open: a path -> its tables.
    """

    read: Callable[[Sequence[Sheet]], Iterator[Comparison | Rejected]]
    open: Callable[..., list[Table]] = open_tables


def row_by_row(reader: Reader) -> Handler:
    """A handler of data sets in which every row is a comparison."""

    def read(sheets: Sequence[Sheet]) -> Iterator[Comparison | Rejected]:
        for sheet in sheets:
            for row in sheet.table.read():
                yield row if isinstance(row, Rejected) else judged_row(reader, row, sheet)

    return Handler(read)


def judged_row(reader: Reader, row: Row, sheet: Sheet) -> Comparison | Rejected:
    """The row's comparison, or what is wrong with it."""
    try:
        return checked(reader(row.content, sheet.place(row.number)))
    except RowError as error:
        return Rejected(sheet.table.source, row.number, str(error), row.whole)


def _exists(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False

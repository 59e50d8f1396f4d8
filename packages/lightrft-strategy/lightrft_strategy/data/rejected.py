"""Rows that cannot be used: kept with their reason, never dropped in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightrft_strategy.data.json_values import readable_json


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used.

    source: the file, dataset or task it came from.
    row: its number there, from 1: the line of a JSONL file (blank lines count), the data row of a CSV file
        (its header does not count), the row of anything else.
    reason: what is wrong, for a person.
    content: the whole row; the raw text where it could not be parsed.
    """

    source: str
    row: int
    reason: str
    content: Any

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}: {self.reason}"


class RowError(ValueError):
    """Why a row cannot be a prompt."""


class PromptDataError(ValueError):
    """Prompt data that cannot be used at all. rejected: the rows that were refused before giving up."""

    def __init__(self, message: str, rejected: Sequence[Rejected] = ()) -> None:
        super().__init__(message)
        self.rejected = list(rejected)


@contextmanager
def flags_called(names: Mapping[str, str]) -> Iterator[None]:
    """Let a PromptDataError name the flags that were asked: names has, for what it says, what it is to say instead."""
    try:
        yield
    except PromptDataError as error:
        text = str(error)
        for said, flag in names.items():
            text = re.sub(rf"{re.escape(said)}\b", flag, text)
        raise PromptDataError(text, error.rejected) from error


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """Write one JSON object a line (source, row, reason, content), replacing the file; an empty one means none.

    Values JSON has no form for are written readably: bytes in base64, or as their number and SHA-256 where there are
    more than 4 kB, dates in ISO 8601, NaN as "nan".
    """
    with path.open("w", encoding="utf-8") as file:
        for item in rejected:
            record = {"source": item.source, "row": item.row, "reason": item.reason}
            file.write(json.dumps(record | {"content": readable_json(item.content)}) + "\n")

"""Formats of well-known data sets, by the name that `--prompt_data` gives before a colon: `geo3k:hiyouga/geometry3k`.

Each turns a row as it is published into one of LightRFT's own keys, whose route is the rule that judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from lightrft_strategy.data.formats.avqa import avqa
from lightrft_strategy.data.formats.geometry3k import geometry3k
from lightrft_strategy.data.formats.gsm8k import gsm8k
from lightrft_strategy.data.formats.muchomusic import muchomusic
from lightrft_strategy.data.rejected import Rejected, RowError
from lightrft_strategy.data.rows import Keys, Row, Table

Format: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A published row -> the same with FORMAT_KEYS. Raises RowError for a row of another form."""

FORMAT_KEYS = Keys()
FORMATS: dict[str, Format] = {"avqa": avqa, "geo3k": geometry3k, "gsm8k": gsm8k, "muchomusic": muchomusic}


def split_format(source: str) -> tuple[str, str]:
    """(format, file, folder or dataset) of a source; the format is "" where it names none."""
    name, colon, place = source.partition(":")
    return (name, place) if colon and name in FORMATS else ("", source)


def in_format(name: str, table: Table) -> Table:
    """The table with its rows brought from the format of that name into FORMAT_KEYS."""
    return replace(table, keys=FORMAT_KEYS, read=partial(_read, FORMATS[name], table))


def _read(reshape: Format, table: Table) -> Iterator[Row | Rejected]:
    for row in table.read():
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            yield Row(row.number, reshape(row.content), row.content)
        except RowError as error:
            yield Rejected(table.source, row.number, str(error), row.content)

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
from lightrft_strategy.data.formats.gpqa import gpqa
from lightrft_strategy.data.formats.gsm8k import gsm8k
from lightrft_strategy.data.formats.livecodebench import livecodebench
from lightrft_strategy.data.formats.mathematics import aime, math500
from lightrft_strategy.data.formats.mmmu import mmmu
from lightrft_strategy.data.formats.muchomusic import muchomusic
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.rows import Keys, Row, Table
from lightrft_strategy.plugins import ForeignError, foreign_names, load_foreign, origin, refuse_own_name

Format: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A published row -> the same with FORMAT_KEYS. Raises RowError for a row of another form."""

GROUP = "lightrft.formats"
"""Entry points of other packages: a name and where its Format is."""

FORMAT_KEYS = Keys()
FORMATS: dict[str, Format] = {
    "aime": aime,
    "avqa": avqa,
    "geo3k": geometry3k,
    "gpqa": partial(gpqa, row=1),
    "gsm8k": gsm8k,
    "livecodebench": livecodebench,
    "math500": math500,
    "mmmu": mmmu,
    "muchomusic": muchomusic,
}

BY_ROW: dict[str, Callable[[Mapping[str, Any], int], dict[str, Any]]] = {"gpqa": gpqa}
"""Those that also depend on the row's number."""

OTHER_WORDS = ("reasoning_gym",)
"""What else may stand before a colon and is no format."""


def split_format(source: str) -> tuple[str, str]:
    """(format, file, folder or dataset) of a source; the format is "" where it names none."""
    name, colon, place = source.partition(":")
    return (name, place) if colon and (name in FORMATS or name in foreign_names(GROUP)) else ("", source)


def format_names() -> list[str]:
    """Every format that may be named; nothing of another package is loaded."""
    return sorted({*FORMATS, *foreign_names(GROUP)})


def find_format(name: str) -> Callable[[Mapping[str, Any], int], dict[str, Any]]:
    """(published row, its number) -> the row with FORMAT_KEYS, for one of `format_names`.

    Raises PromptDataError, naming the package, if another package takes a name of LightRFT's own, or offers what cannot
    be loaded or called.
    """
    try:
        if name in FORMATS or name in OTHER_WORDS:
            refuse_own_name(GROUP, name)
            return BY_ROW.get(name, lambda content, number: FORMATS[name](content))
        shape = load_foreign(GROUP, name)
    except ForeignError as error:
        raise PromptDataError(f"the format {name}: {error}") from error
    if not callable(shape):
        raise PromptDataError(f"the format {name}: {origin(GROUP, name)} is no function of a row")
    return partial(_shaped_elsewhere, name, shape)


def _shaped_elsewhere(name: str, shape: Format, content: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row shaped by another package, whose failures cost the row alone."""
    try:
        shaped = shape(content)
    except RowError:
        raise
    except Exception as error:
        raise RowError(f"the format {name} fails on it: {type(error).__name__}: {error}") from error
    if not isinstance(shaped, dict):
        raise RowError(f"the format {name} makes a {type(shaped).__name__} of it, not a dict of keys")
    return shaped


def in_format(name: str, table: Table) -> Table:
    """The table with its rows brought from the format of that name into FORMAT_KEYS."""
    return replace(table, keys=FORMAT_KEYS, read=partial(_read, find_format(name), table))


def _read(shape: Callable[[Mapping[str, Any], int], dict[str, Any]], table: Table) -> Iterator[Row | Rejected]:
    for row in table.read():
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            yield Row(row.number, shape(row.content, row.number), row.content)
        except RowError as error:
            yield Rejected(table.source, row.number, str(error), row.content)

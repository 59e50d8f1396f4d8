"""Values of published rows, with errors that name the column."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from lightrft_rewards.preferences.comparison import Answer
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import Medium, Turn, described, quoted
from lightrft_strategy.data.rejected import RowError

_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def number(value: Any, name: str) -> float:
    """A finite number, which CSV files hold as text. Raises RowError for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise RowError(f'its "{name}" is {quoted(value)}, not a number') from None
    try:
        if not isinstance(value, bool) and isfinite(value):
            return float(value)
    except (TypeError, OverflowError):
        pass
    raise RowError(f'its "{name}" is {described(value) if not isinstance(value, float) else value}, not a number')


def number_of(content: Mapping[str, Any], *names: str) -> float:
    """The number under the first of these columns that there is. Raises RowError without one."""
    name, value = field_of(content, *names)
    return number(value, name)


def truth_of(content: Mapping[str, Any], name: str) -> bool:
    """True or false, which CSV files hold as text. Raises RowError for anything else."""
    _, value = field_of(content, name)
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int) and str(value).strip().lower() in _TRUTHS:
        return _TRUTHS[str(value).strip().lower()]
    raise RowError(f'its "{name}" is neither true nor false')


def has(content: Mapping[str, Any], name: str) -> bool:
    """Whether the row has such a column with something in it."""
    return content.get(name) not in (None, "")


def items_of(content: Mapping[str, Any], name: str, count: int | None = None) -> list[Any]:
    """A list, of so many items where that is given. Raises RowError for anything else."""
    _, value = field_of(content, name)
    if not isinstance(value, list | tuple):
        raise RowError(f'its "{name}" is {described(value)}, not a list')
    if count is not None and len(value) != count:
        raise RowError(f'its "{name}" has {len(value)} items, not {count}')
    return list(value)


def medium(modality: str, source: Any, name: str) -> Answer:
    """An answer that is an image, a video or a sound.

    source: a path, bytes or {"bytes": ..., "path": ...}. Raises RowError for anything else.
    """
    if not isinstance(source, str | bytes | Mapping) or not source:
        raise RowError(f'its "{name}" is {described(source)}, not {_ARTICLES[modality]} {modality}')
    return (Medium(modality, {"type": modality, modality: source}, f'the {modality} under its "{name}"'),)


_ARTICLES = {"image": "an", "video": "a", "audio": "an"}


def asked(content: Mapping[str, Any], *names: str) -> tuple[Turn, ...]:
    """The text under the first of these columns as the user's question. Raises RowError if it is blank or none."""
    return (Turn("user", (text_of(content, *names),)),)


def makers_of(content: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """The models that answered, if the row names them all."""
    return tuple(str(content[name]) for name in names) if all(has(content, name) for name in names) else ()

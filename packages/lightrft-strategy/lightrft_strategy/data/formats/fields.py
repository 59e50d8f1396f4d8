"""Fields of a published row, with errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.parts import described, keys_of
from lightrft_strategy.data.rejected import RowError


def field_of(content: Mapping[str, Any], *names: str) -> tuple[str, Any]:
    """(name, value) of the first of these fields that the row has and that is not null. Raises RowError without one."""
    for name in names:
        if content.get(name) is not None:
            return name, content[name]
    wanted = " or ".join(f'"{name}"' for name in names)
    raise RowError(f"has no {wanted} (it has {keys_of(content)})")


def text_of(content: Mapping[str, Any], *names: str) -> str:
    """That value as text. Raises RowError if it is of another type or blank."""
    name, value = field_of(content, *names)
    if not isinstance(value, str):
        raise RowError(f'its "{name}" is {described(value)}, not text')
    if not value.strip():
        raise RowError(f'its "{name}" is blank')
    return value

"""Numbers as users' functions return them, made plain: Python's, numpy's or torch's, without importing either."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Listable(Protocol):
    """A tensor or an array."""

    def tolist(self) -> Any:
        """Its numbers as (nested) Python lists, or one number if it has no dimensions."""
        ...


def unwrapped(value: Any) -> Any:
    """A tensor or array as Python lists and numbers; anything else as it is."""
    return value.tolist() if isinstance(value, Listable) else value


def finite(value: Any) -> float:
    """The value as a float. Raises ValueError if it is no real number, or not a finite one."""
    value = unwrapped(value)
    if not isinstance(value, Real):
        raise ValueError(f"{value!r:.100} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.100} is not a finite number")
    return number

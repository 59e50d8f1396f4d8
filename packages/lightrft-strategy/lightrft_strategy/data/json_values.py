"""Python values from Arrow and CSV as JSON values."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID


def json_value(value: Any) -> Any:
    """The value as JSON can say it: tuples become lists, decimals and dates text.

    Raises ValueError where there is no such form: bytes, NaN, infinities.
    """
    return _convert(value, _refuse)


MOST_BYTES = 4096
"""Longer bytes, such as images, are not written out."""


def readable_json(value: Any) -> Any:
    """The value as JSON, with text in place of what JSON has no form for.

    Bytes are base64, or their number and SHA-256 where there are more than MOST_BYTES.
    """
    return _convert(value, _describe)


def _convert(value: Any, other: Callable[[Any], Any]) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping():
            return {str(key): _convert(item, other) for key, item in value.items()}
        case list() | tuple():
            return [_convert(item, other) for item in value]
        case date() | time():
            return value.isoformat()
        case Decimal() | timedelta() | UUID():
            return str(value)
        case _:
            return other(value)


def _refuse(value: Any) -> Any:
    what = str(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise ValueError(f"holds {what}, which JSON has no form for")


def _describe(value: Any) -> Any:
    if not isinstance(value, bytes):
        return str(value)
    if len(value) > MOST_BYTES:
        return f"{len(value)} bytes, sha256 {sha256(value).hexdigest()}"
    return b64encode(value).decode()

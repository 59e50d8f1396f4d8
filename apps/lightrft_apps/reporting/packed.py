"""Data as a page carries it: columns of numbers behind a JSON header, compressed, in letters that end no element."""

from __future__ import annotations

import gzip
import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"u1": "<u1", "u2": "<u2", "u4": "<u4", "f2": "<f2", "f4": "<f4"}
"""How the page names the numbers of a column."""


def packed(header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]] | None = None) -> str:
    """Base64 of gzip of: the header's length in bytes as 4 bytes, the header, the columns, each at a multiple of 4.

    The header is JSON, null for numbers that it does not know, with `columns`: [name, kind of number, how many] of each
    column. Bytes of equal weight stand together, which compresses better: first the lowest of every number, then the
    next.
    """
    columns = columns or {}
    kinds = [[name, _kind(column), len(column)] for name, column in columns.items()]
    text = json.dumps(finite({**header, "columns": kinds}), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    head = text.encode("utf-8", "replace")
    parts = [len(head).to_bytes(4, "little"), _padded(head)]
    for column in columns.values():
        plain = np.ascontiguousarray(column).astype(KINDS[_kind(column)])
        parts.append(_padded(plain.view(np.uint8).reshape(-1, plain.itemsize).T.tobytes()))
    return b64encode(gzip.compress(b"".join(parts), 6, mtime=0)).decode("ascii")


def finite(value: Any) -> Any:
    """The same JSON value with null for numbers that JSON does not know."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(name): finite(each) for name, each in value.items()}
        case list():
            return [finite(each) for each in value]
        case _:
            return value


def halves(numbers: NDArray[Any]) -> NDArray[np.float16]:
    """Numbers with three to four digits, the largest there are in place of larger ones."""
    most = float(np.finfo(np.float16).max)
    return np.clip(numbers, -most, most).astype(np.float16)


def _kind(column: NDArray[Any]) -> str:
    return f"{column.dtype.kind}{column.dtype.itemsize}"


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)

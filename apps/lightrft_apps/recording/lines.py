"""The lines of a run's metrics.jsonl and warnings.jsonl: one rule for which of them count, whoever reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunLines:
    """The lines of a file, in order. torn: those that do not count, by their number from 1."""

    lines: list[dict[str, Any]]
    torn: list[int]


def read_lines(path: Path) -> RunLines:
    """Those of a file; of one that is not there, none."""
    read = [line_of(line) for line in path.read_bytes().splitlines(True)] if path.is_file() else []
    return RunLines(
        [line for line in read if line is not None], [number for number, line in enumerate(read, 1) if line is None]
    )


def line_of(content: bytes) -> dict[str, Any] | None:
    """What a line says, with the end of line it was written with; None for one that does not count.

    A line counts if it is whole: an object of JSON with a whole number as its step, and an end. A kill or a full disk
    leaves others, and one without its end may still be being written.
    """
    said = object_of(content) if content.endswith(b"\n") else None
    return said if said is not None and type(said.get("step")) is int else None


def object_of(content: bytes) -> dict[str, Any] | None:
    """An object of JSON; None for whatever else lies there."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""A run's files as they lie there, whatever a kill or a full disk has made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from lightrft_apps.recording.directory import RunDirectory
from lightrft_strategy.training.beats import Beat


def read_beats(run: RunDirectory) -> tuple[list[Beat], list[str]]:
    """The last word of each rank, by rank, and what is wrong with those that cannot be read."""
    beats, faults = list[Beat](), list[str]()
    for path in sorted(run.heartbeats.glob("rank_*.json")):
        try:
            beats.append(Beat.read(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            faults.append(f"{path.name} cannot be read: {error}")
    return sorted(beats, key=lambda beat: beat.rank), faults


def rejected_reasons(run: RunDirectory) -> list[str]:
    """Why rows were not used, one a row."""
    reasons = []
    for line in _lines(run.rejected):
        try:
            reasons.append(str(json.loads(line)["reason"]))
        except (ValueError, KeyError, TypeError):
            reasons.append("this line of rejected.jsonl cannot be read")
    return reasons


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; of those that vanish meanwhile, none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
    return total


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from path.read_bytes().splitlines()
    except OSError:
        return

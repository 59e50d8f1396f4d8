"""Checkpoint folders that exist whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

_NAME = re.compile(r"step_(\d+)")
_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a folder beside `folder`, flush it to disk, and only then give it its name.

    Killed at any moment, this leaves either the whole folder or what was there before, and leftovers that the next call
    removes. An existing `folder` is replaced; killed between two renames, it is found whole under `folder`.replaced.
    """
    unfinished = folder.with_name(folder.name + _UNFINISHED)
    replaced = folder.with_name(folder.name + _REPLACED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    fill(unfinished)
    for path in [*unfinished.rglob("*"), unfinished]:
        _flush(path)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    unfinished.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def checkpoints(folder: Path) -> dict[int, Path]:
    """The finished checkpoints in a folder by step, oldest first."""
    found = {int(match[1]): path for path in folder.glob("step_*") if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def write_checkpoint(folder: Path, step: int, fill: Callable[[Path], None], *, keep: int) -> None:
    """Write `folder`/step_N and remove all but the newest `keep` checkpoints."""
    write_folder(folder / f"step_{step}", fill)
    prune_checkpoints(folder, keep=keep)


def prune_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what a kill has left of unfinished or half removed ones."""
    for leftover in list(folder.glob(f"step_*{_UNFINISHED}")):
        shutil.rmtree(leftover)
    for path in list(checkpoints(folder).values())[:-keep]:
        doomed = path.with_name(path.name + _UNFINISHED)
        path.rename(doomed)
        shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

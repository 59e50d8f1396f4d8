"""Which of the saved answers a page carries, and where they stand in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lightrft_apps.reporting.answers import Floats, groups_of, parts_of
from lightrft_apps.reporting.packed import packed

Groups: TypeAlias = list[tuple[int, int]]
"""First row and number of rows of each."""

Thing = TypeVar("Thing")

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What a file that is not whole raises where it is read."""

KINDS = ("step", "eval")
_FILE = re.compile(rf"({'|'.join(KINDS)})_(\d+)")


@dataclass
class Answers:
    """Answers of all runs of a page.

    parts: packed groups, by number. index: a line for each group and answer, packed. scales: by mode, what is coloured
    most. media: of what modality each hash is. kept, left_out: answers. unread: damaged files, in words.
    """

    parts: list[str] = field(default_factory=list[str])
    index: str = ""
    scales: dict[str, float] = field(default_factory=dict[str, float])
    media: dict[str, str] = field(default_factory=dict[str, str])
    kept: int = 0
    left_out: int = 0
    unread: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class File:
    """A file of answers: of which run, by its number, and where its groups lie."""

    run: int
    kind: str
    step: int
    path: Path
    groups: Groups


def files_of(folders: Sequence[Path]) -> tuple[list[File], list[str]]:
    """The files of answers of runs, each run's by step, those of evaluations behind those of steps.

    Also says which cannot be read, and why.
    """
    found = [
        (run, match[1], int(match[2]), path)
        for run, folder in enumerate(folders)
        for path in folder.glob("*.parquet")
        if (match := _FILE.fullmatch(path.stem))
    ]
    files, unread = list[File](), list[str]()
    for each in sorted(found, key=lambda each: (each[0], KINDS.index(each[1]), each[2])):
        try:
            files.append(File(*each, groups_of(each[3])))
        except DAMAGED as error:
            unread.append(_unread(each[3], error))
    return files, unread


def gather(folders: Sequence[Path], most: int) -> Answers:
    """Pack the answers of runs, whose folders of answers these are; of more than `most`, whole groups evenly."""
    files, unread = files_of(folders)
    answers = Answers(unread=unread)
    groups: dict[str, list[int]] = {name: [] for name in ("run", "kind", "step", "part", "place", "uid", "count")}
    columns: dict[str, list[NDArray[Any]]] = {}
    tokens: dict[str, list[Floats]] = {}
    uids: dict[str, int] = {}
    for file, chosen in zip(files, chosen_of([file.groups for file in files], most), strict=True):
        try:
            parts = list(parts_of(file.path, chosen)) if chosen else []
        except DAMAGED as error:
            answers.unread.append(_unread(file.path, error))
            continue
        answers.left_out += answers_in(file.groups) - answers_in(chosen)
        answers.kept += answers_in(chosen)
        for part in parts:
            for place, (uid, count) in enumerate(zip(part.uids, part.counts, strict=True)):
                line = (file.run, KINDS.index(file.kind), file.step, len(answers.parts), place)
                for name, number in zip(groups, (*line, uids.setdefault(uid, len(uids)), count), strict=True):
                    groups[name].append(number)
            answers.parts.append(part.packed)
            answers.media |= part.media
            for name, column in part.columns.items():
                columns.setdefault(name, []).append(column)
            for name, numbers in part.tokens.items():
                tokens.setdefault(name, []).append(numbers)
    whole: dict[str, NDArray[Any]] = {name: np.array(numbers, dtype=np.uint32) for name, numbers in groups.items()}
    whole |= {f"answer_{name}": np.concatenate(pieces) for name, pieces in columns.items()}
    answers.index = packed({"uids": list(uids)}, whole)
    answers.scales = {name: _scale(name, np.concatenate(pieces)) for name, pieces in tokens.items()}
    return answers


def chosen_of(files: list[Groups], most: int) -> list[Groups]:
    """Of the groups of each file those that a page carries, `most` answers at most.

    As large a share of each file's as fits, spread over it; where not even one group of each fits, of some files,
    spread over all.
    """
    size = sum(map(answers_in, files))
    share, wanted = min(1.0, most / max(1, size)), files
    while size > most and any(len(groups) > 1 for groups in wanted):
        wanted = [_evenly(groups, max(1, int(len(groups) * share + 1e-9))) for groups in files]
        size = sum(map(answers_in, wanted))
        share *= min(0.99, most / max(1, size))
    with_some = [place for place, groups in enumerate(wanted) if groups]
    count = len(with_some) if size <= most else len(with_some) * most // size
    while sum(answers_in(wanted[place]) for place in _evenly(with_some, count)) > most:
        count -= 1
    kept = {*_evenly(with_some, count)}
    return [groups if place in kept else [] for place, groups in enumerate(wanted)]


def answers_in(groups: Groups) -> int:
    """How many they are."""
    return sum(count for _, count in groups)


def _evenly(things: list[Thing], count: int) -> list[Thing]:
    """So many of them, spread over all; all, if there are fewer."""
    count = min(len(things), count)
    return [things[place * len(things) // count] for place in range(count)]


def _unread(path: Path, error: Exception) -> str:
    """Which file, by the run it is of, and why."""
    return f"{'/'.join(path.resolve().parts[-3:])} cannot be read: {str(error).partition(chr(10))[0]}"


def _scale(mode: str, numbers: Floats) -> float:
    """What 99 of 100 tokens lie below, to two digits up: of ratios the logarithm to the base 2."""
    with np.errstate(divide="ignore"):
        sizes = np.abs(np.log2(np.maximum(numbers, 2.0**-20)) if mode == "ratios" else numbers)
    most = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    if most <= 0:
        return 1.0
    power = 10.0 ** (np.floor(np.log10(most)) - 1)
    return float(f"{np.ceil(most / power - 1e-9) * power:.6g}")

"""A question about a medium, and files of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = ("images", "videos", "audios")
"""Under which keys rows hold media."""


@dataclass(frozen=True)
class Riddle:
    """One question. modality: of the medium that it is about; suffix: of its file, which `write` fills.

    choices: every answer there is, in a fixed order. answer: the number of the right one.
    """

    modality: str
    suffix: str
    write: Callable[[Path], None]
    question: str
    choices: tuple[str, ...]
    answer: int

    @property
    def solution(self) -> str:
        """The right answer."""
        return self.choices[self.answer]

    def row(self, medium: str) -> dict[str, Any]:
        """The riddle as a row of prompts; medium: the path of its file."""
        return {
            "input": self.question,
            "label": {"choices": list(self.choices), "answer": self.answer},
            f"{self.modality}s": [medium],
        }


def answered(riddle: Riddle) -> dict[str, Any]:
    """What of a row an example has besides: the right answer."""
    return {"output": riddle.solution}


def write_riddles(
    riddles: Sequence[Riddle], file: Path, besides: Callable[[Riddle], Mapping[str, Any]] = answered
) -> Path:
    """Write rows to a JSONL file, which is returned, and their media into a folder of its name beside it.

    besides: what somebody says of a riddle, such as an answer, which need not be right: more columns of its row.
    """
    folder = file.with_suffix("")
    folder.mkdir(parents=True)
    media = []
    for number, riddle in enumerate(riddles):
        medium = folder / f"{number:04}{riddle.suffix}"
        riddle.write(medium)
        media.append(f"{folder.name}/{medium.name}")
    pairs = zip(riddles, media, strict=True)
    return write_rows([riddle.row(medium) | dict(besides(riddle)) for riddle, medium in pairs], file)


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """Write a JSONL file, which is returned."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def swapped(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each row with the medium of the next one that has the same question, the last with that of the first."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row["input"], []).append(place)
    following = {one: other for same in places.values() for one, other in zip(same, same[1:] + same[:1], strict=True)}
    media = [{key: value for key, value in row.items() if key in KEYS} for row in rows]
    return [dict(row) | media[following[place]] for place, row in enumerate(rows)]

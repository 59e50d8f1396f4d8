"""A question about a medium, and files of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        """The riddle as a row of prompts and of examples; medium: the path of its file."""
        return {
            "input": self.question,
            "output": self.solution,
            "label": {"choices": list(self.choices), "answer": self.answer},
            f"{self.modality}s": [medium],
        }


def write_riddles(riddles: Sequence[Riddle], file: Path) -> Path:
    """Write rows to a JSONL file, which is returned, and their media into a folder of its name beside it."""
    folder = file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, riddle in enumerate(riddles):
        medium = folder / f"{number:04}{riddle.suffix}"
        riddle.write(medium)
        lines.append(json.dumps(riddle.row(f"{folder.name}/{medium.name}")))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file

"""What was judged, kept on disk, so that a resumed run gets the same verdicts again.

Judging is the one part of a run that a clock decides: a sample over its deadline once may be within it the next time,
and a function may ask a service that answers differently. So each group's outcomes are written down before the trainer
sees them. A run that is resumed goes through the steps after its checkpoint once more; where it comes to the very same
answers, their outcomes are read here instead of being judged again.

A line is one group: {"step", "uid", "occurrence", "key", "verdicts": [{"sample", ...an outcome}]}. The key is a digest
of everything that decides the outcome; a group that differs in any of it (other answers, another label, other rewards,
an edited function) is not found, and is judged afresh. To have everything judged afresh, delete the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightrft_rewards.samples import Outcome, Sample, outcome_to_json


@dataclass(frozen=True)
class Entry:
    """One judged group. numbers: its samples' numbers within it; outcomes: what judging each gave."""

    step: int
    uid: str
    occurrence: int
    key: str
    numbers: Sequence[int]
    outcomes: Sequence[Outcome]


class Journal:
    """The file of one process; no two processes may share one.

    What it held when it was opened can be recalled; what is added is for the next run.
    """

    def __init__(self, path: Path) -> None:
        """path: need not exist yet. A last line cut short by a kill is removed.

        Raises ValueError, naming file and line, for any other line that cannot be read.
        """
        self.path = path
        self._places: dict[int, list[int]] = defaultdict(list)
        if path.exists():
            self._index()

    def recall(self, step: int) -> dict[str, list[Outcome]]:
        """The outcomes that were on file for a step, by the key of their group, in the order of its samples."""
        found: dict[str, list[Outcome]] = {}
        if step not in self._places:
            return found
        with self.path.open("rb") as file:
            for place in self._places[step]:
                file.seek(place)
                line = json.loads(file.readline())
                found.setdefault(line["key"], [_outcome(verdict) for verdict in line["verdicts"]])
        return found

    def add(self, entries: Sequence[Entry]) -> None:
        """Write them all, and return once they are on the disk."""
        if not entries:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(_line(entry) for entry in entries))
            file.flush()
            os.fsync(file.fileno())

    def _index(self) -> None:
        """Remember where each step's lines begin; lines are read again when they are asked for."""
        place = 0
        with self.path.open("r+b") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    file.truncate(place)
                    break
                try:
                    self._places[json.loads(line)["step"]].append(place)
                except (ValueError, KeyError, TypeError):
                    raise ValueError(
                        f"{self.path}, line {number}: not a line of a reward journal; "
                        "restore the file, or delete it to have all samples judged again"
                    ) from None
                place += len(line)


def group_key(fingerprint: str, step: int, uid: str, occurrence: int, samples: Sequence[Sample]) -> str:
    """A digest of what decides a group's outcomes. fingerprint: of the rewards (Scoring.fingerprint)."""
    content: list[Any] = [fingerprint, step, uid, occurrence]
    content += [
        [sample.prompt, sample.response, sample.route, sample.label, *(medium.sha256 for medium in sample.media)]
        for sample in samples
    ]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()[:32]


def _line(entry: Entry) -> bytes:
    verdicts = [
        {"sample": number, **outcome_to_json(outcome)}
        for number, outcome in zip(entry.numbers, entry.outcomes, strict=True)
    ]
    line = {"step": entry.step, "uid": entry.uid, "occurrence": entry.occurrence, "key": entry.key}
    return json.dumps({**line, "verdicts": verdicts}, separators=(",", ":")).encode() + b"\n"


def _outcome(verdict: dict[str, Any]) -> Outcome:
    values = {name: value for name, value in verdict.items() if name != "sample"}
    steps = tuple((end, reward) for end, reward in values.pop("steps", ()))
    return Outcome(**values, steps=steps)

"""What a run's folder says at a moment, whether the run goes, has stopped, or is done."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeAlias

from lightrft_apps.config import COMMANDS, ConfigError, stored_config
from lightrft_apps.recording.directory import RunDirectory, in_use
from lightrft_apps.recording.following import JsonLines
from lightrft_apps.recording.lines import object_of

State: TypeAlias = Literal["done", "running", "stopped"]
RECENT = 10
"""Steps whose mean time says how long the rest takes."""

Line: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """A run at a moment.

    settings: its flags; empty where they cannot be read. num_steps: None if it has not said so yet.
    lines, warnings: as in metrics.jsonl and warnings.jsonl. beats: the last word of each rank, by rank.
    sample: a row of the newest trajectories. now: Unix time of the moment; since: that of the newest line.
    """

    path: Path
    command: str
    settings: Mapping[str, Any]
    state: State
    num_steps: int | None
    lines: Sequence[Line]
    warnings: Sequence[Line]
    beats: Sequence[Line]
    sample: Line | None
    now: float
    since: float | None

    @property
    def finished(self) -> bool:
        return self.state == "done"

    @property
    def step(self) -> int:
        """The newest step that is done."""
        return self.lines[-1]["step"] if self.lines else 0

    def seconds_left(self) -> float | None:
        """Until the last step is done, if the steps to come take as long as the newest ones; None: nobody knows."""
        took = [line["time/step"] for line in self.lines[-RECENT:] if line["step"] and "time/step" in line]
        if self.num_steps is None or not took or self.since is None:
            return None
        left = (self.num_steps - self.step) * fmean(took)
        return max(0.0, left - (self.now - self.since)) if self.step < self.num_steps else 0.0


class Readings:
    """Reads again what has changed."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.metrics, self.warnings = JsonLines(run.metrics), JsonLines(run.warnings)
        self._sample: tuple[Path, int, Line | None] | None = None

    def read(self) -> Seen:
        """The run as it stands."""
        command, settings = self._configuration()
        done = self.run.summary.exists()
        return Seen(
            path=self.run.path,
            command=command,
            settings=settings,
            state="done" if done else "running" if in_use(self.run) else "stopped",
            num_steps=_number(self.run.progress, "num_steps"),
            lines=[*self.metrics.lines()],
            warnings=self.warnings.lines(),
            beats=self._beats(),
            sample=self._newest_answer(),
            now=time.time(),
            since=_changed(self.run.metrics),
        )

    def _configuration(self) -> tuple[str, Mapping[str, Any]]:
        try:
            config = stored_config(self.run.config)
        except ConfigError:
            return "run", {}
        return COMMANDS[type(config)], config.to_flat()

    def _beats(self) -> list[Line]:
        beats = list[Line]()
        for path in self.run.heartbeats.glob("rank_*.json"):
            with suppress(OSError):
                beats += _word(path.read_bytes())
        return sorted(beats, key=lambda beat: beat["rank"])

    def _newest_answer(self) -> Line | None:
        """One row of the newest file, another one for another step."""
        files = [path for path in self.run.trajectories.glob("*.parquet") if _step_of(path) is not None]
        if not files:
            return None
        newest = max(files, key=lambda path: (_step_of(path), path.stem))
        try:
            stamp = newest.stat().st_mtime_ns
            if self._sample is None or self._sample[:2] != (newest, stamp):
                self._sample = newest, stamp, _row(newest)
        except OSError:
            return None
        return self._sample[2]


def _word(content: bytes) -> list[Line]:
    """What a rank said last, none if what is shown of it is not there."""
    said = object_of(content) or {}
    numbers = [said.get(name) for name in ("rank", "since", "beat")]
    known = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    return [said] if known and isinstance(said.get("phase"), str) else []


def _row(path: Path) -> Line | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["prompt", "response", "reward", "finish_reason", "step"])
    except (pa.ArrowException, KeyError):
        return None
    if not table.num_rows:
        return None
    row: dict[str, Any] = table.slice((_step_of(path) or 0) % table.num_rows, 1).to_pylist()[0]
    return row | {"of": path.stem.partition("_")[0]}


def _step_of(path: Path) -> int | None:
    _, _, number = path.stem.partition("_")
    return int(number) if number.isdigit() else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _number(path: Path, name: str) -> int | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, int) else None

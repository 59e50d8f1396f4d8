"""What a run was and how it went, read from its folder: configuration, environment, metrics, summary."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from lightrft_apps.config import COMMANDS, ConfigError, stored_config
from lightrft_apps.config.reading.files import RECORD
from lightrft_apps.config.reading.schema import NEEDED, Field, fields_of
from lightrft_apps.config.reading.text import as_text
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import object_of, read_lines
from lightrft_apps.recording.secrets import without_secrets

POINTS = 800
"""Of a curve, at most; of more steps the mean of neighbours is shown."""

Points: TypeAlias = list[tuple[int, float]]
"""Steps and values."""

OWN = ("seed", "output_dir")
"""In which runs of one recipe differ."""


@dataclass(frozen=True)
class RunFacts:
    """One run. config: as it was written, without secrets; lines: those of its metrics, by step."""

    name: str
    folder: RunDirectory
    command: str
    fields: Mapping[str, Field]
    config: dict[str, Any]
    record: dict[str, Any]
    lines: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def recipe(self) -> str:
        """Equal for runs that differ in nothing but their seed."""
        return json.dumps({name: value for name, value in self.config.items() if name not in OWN}, sort_keys=True)

    def shown(self) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "name": self.name,
            "command": self.command,
            "config": [
                {"title": title, "rows": [self._row(name) for name in names]} for title, names in self._sections()
            ],
            "record": {name: as_text(value) for name, value in self.record.items()},
            "summary": {name: value for name, value in self.summary.items() if name != "rewards"},
            "flat": {name: as_text(value) for name, value in self.config.items() if value is not None},
        }

    def _sections(self) -> list[tuple[str, list[str]]]:
        titles: dict[str, list[str]] = {}
        for name in self.config:
            titles.setdefault(self.fields[name].title if name in self.fields else "Other", []).append(name)
        return list(titles.items())

    def _row(self, name: str) -> dict[str, Any]:
        field, value = self.fields.get(name), self.config[name]
        default = NEEDED if field is None else field.default
        plain = list(default) if isinstance(default, tuple) else default
        return {
            "name": name,
            "value": as_text(value),
            "usual": None if plain is NEEDED else as_text(plain),
            "changed": plain is NEEDED or plain != value,
            "doc": "" if field is None else field.doc,
        }


def read_run(path: Path, name: str) -> RunFacts:
    """What lies in a run's folder; a file that is missing or torn is as if it were empty."""
    folder = RunDirectory(path)
    written = _mapping(folder.config)
    record = written.pop(RECORD, {})
    command, fields = _command(folder.config)
    return RunFacts(
        name,
        folder,
        command,
        fields,
        without_secrets(written, fields.keys()),
        without_secrets(record) if isinstance(record, Mapping) else {},
        read_lines(folder.metrics).lines,
        (object_of(folder.summary.read_bytes()) if folder.summary.is_file() else None) or {},
    )


def recipes(runs: Sequence[RunFacts]) -> list[list[int]]:
    """The numbers of runs of one recipe, together."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        found.setdefault(run.recipe, []).append(number)
    return list(found.values())


def curves(runs: Sequence[RunFacts]) -> dict[str, list[list[Any]]]:
    """By metric, of each run that has it: [number of the run, steps, values].

    Where a run has too many points, all runs are thinned to means of the same steps, so that they can be compared.
    """
    found: dict[str, list[tuple[int, Points]]] = {}
    for number, run in enumerate(runs):
        names = dict.fromkeys(name for line in run.lines for name in line if name != "step")
        for name in names:
            points = [(line["step"], line[name]) for line in run.lines if _number(line.get(name))]
            if points:
                found.setdefault(name, []).append((number, points))
    return {name: _thinned(of_runs) for name, of_runs in found.items()}


def _thinned(of_runs: Sequence[tuple[int, Points]]) -> list[list[Any]]:
    """Of each block of steps the mean, at the last step of it that any of the runs has."""
    many = max(len(points) for _, points in of_runs) > POINTS
    last = max(step for _, points in of_runs for step, _ in points)
    together = -(-last // (POINTS - 1)) if many else 1
    blocks = [(number, _blocks(points, together)) for number, points in of_runs]
    ends: dict[int, int] = {}
    for _, own in blocks:
        for block, piece in own.items():
            ends[block] = max(ends.get(block, 0), piece[-1][0])
    return [
        [number, [ends[block] for block in own], [_mean([value for _, value in piece]) for piece in own.values()]]
        for number, own in blocks
    ]


def _blocks(points: Points, together: int) -> dict[int, Points]:
    """The points by which of the blocks of so many steps they lie in: 0 alone, then 1 and so many more."""
    blocks: dict[int, Points] = {}
    for step, value in points:
        blocks.setdefault(-(-step // together), []).append((step, value))
    return blocks


def _mean(values: Sequence[float]) -> float:
    return float(f"{sum(values) / len(values):.6g}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8", "replace")) if path.is_file() else {}
    except yaml.YAMLError:
        return {}
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


def _command(path: Path) -> tuple[str, Mapping[str, Field]]:
    """Which command a configuration is of, and its fields; of one that none knows: no name, and no fields."""
    try:
        known = type(stored_config(path))
    except ConfigError:
        return "", {}
    return COMMANDS[known], fields_of(known)

"""What a tracker is told of a run, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True)
class Tracked:
    """The run.

    folder: the run's own; metrics, summary, identity: metrics.jsonl, summary.json and trackers.json, all by full names.
    id: the same each time the run goes on, and of no other run.
    command: what trains, such as rl. config: every flag, without what looks like a secret.
    shared: a folder in which several runs have one each, for TensorBoard; None: in the run's own.
    online: send the numbers; else they are only written down.
    """

    folder: str
    metrics: str
    summary: str
    identity: str
    id: str
    name: str
    project: str
    group: str | None
    org: str | None
    command: str
    config: Mapping[str, Any]
    shared: str | None
    online: bool

    def room(self, tracker: str) -> Path:
        """The tracker's folder in the run."""
        return Path(self.folder) / tracker


class Tracker(Protocol):
    """Writes the numbers of a run down."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The numbers of one step, by the names they have in metrics.jsonl. Steps only ever grow."""

    def finish(self, ended: bool) -> None:
        """Nothing follows. ended: the run is done; else it was stopped."""


Start: TypeAlias = Callable[[Tracked], Tracker]
"""Begins anew what is only written down; goes on with what was sent, and writes no step of that again."""

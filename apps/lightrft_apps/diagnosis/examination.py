"""A run looked at from outside: alive or dead, who waits for whom, and what lies on its disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lightrft_apps.diagnosis.asking import ask_rank
from lightrft_apps.diagnosis.engine_servers import servers
from lightrft_apps.diagnosis.findings import Finding, Found
from lightrft_apps.diagnosis.keeping import damaged_sizes, kept
from lightrft_apps.diagnosis.progress_of_steps import against_median, steps_done
from lightrft_apps.diagnosis.run_files import read_beats
from lightrft_apps.diagnosis.waiting import RankState, culprits, verdict
from lightrft_apps.diagnosis.watched import watched
from lightrft_apps.recording.directory import RunDirectory, in_use
from lightrft_apps.recording.lines import RunLines, read_lines

_AGAIN = "the same command goes on from the newest checkpoint, or begins again where there is none"


def examine_run(path: Path, *, checksums: bool = False) -> Found:
    """What ails the run in a folder. checksums: read every byte of its checkpoints."""
    run = RunDirectory(path)
    config = _config(run)
    metrics = read_lines(run.metrics)
    beats, faults = read_beats(run)
    states = [ask_rank(beat, now, run.heartbeats) for beat, now in watched(run, beats)]
    unread = [
        Finding("heartbeats", "note", fault, "another comes within seconds if its rank lives") for fault in faults
    ]
    return Found(
        [*_verdict(run, metrics, states), *servers(states, config), *unread],
        {"The run": [*steps_done(metrics, config.get("max_steps"))], "On disk": [*kept(run, checksums=checksums)]},
        _stacks(states),
        {
            "ranks": [_numbers(state) for state in states],
            "last_metrics": metrics.lines[-1] if metrics.lines else None,
            "damaged_checkpoints": [{"folder": str(path), "bytes": size} for path, size in damaged_sizes(run).items()],
        },
    )


def _verdict(run: RunDirectory, metrics: RunLines, states: Sequence[RankState]) -> list[Finding]:
    if run.summary.exists():
        return [Finding("run", "well", f"{run.path} is finished: {_summary(run)}")]
    lines = verdict(states)
    missing = states[0].beat.world_size - len(states) if states else 0
    if missing > 0:
        lines.append(Finding("ranks", "note", f"{missing} of {states[0].beat.world_size} ranks have left no word yet"))
    for state in culprits(states):
        slow = against_median(state.beat, state.now, metrics.lines) if state.status in ("waiting", "working") else ""
        if slow:
            lines.append(Finding(f"rank {state.beat.rank}", "note", f"rank {state.beat.rank}: {slow}"))
    if any(state.status not in ("gone", "failed", "done") for state in states):
        return lines
    if in_use(run):
        return [*lines, Finding("run", "well", f"{run.path} is in use: a process is starting or ending")]
    if states:
        return [*lines, Finding("run", "bad", f"{run.path} is not finished, and no process works on it", _AGAIN)]
    return [Finding("run", "note", f"{run.path} is not finished, and no process of this machine works on it", _AGAIN)]


def _summary(run: RunDirectory) -> str:
    try:
        summary: Any = json.loads(run.summary.read_bytes())
        return f"{summary['steps']} steps in {summary['seconds']:.0f} s"
    except (OSError, ValueError, KeyError, TypeError):
        return "its summary.json cannot be read"


def _config(run: RunDirectory) -> dict[str, Any]:
    """What the run was told, as far as it can be read."""
    try:
        told: Any = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return told if isinstance(told, dict) else {}


def _stacks(states: Sequence[RankState]) -> dict[str, Sequence[str]]:
    """Of those that hold the others up: what judges for them first."""
    shown: dict[str, Sequence[str]] = {}
    for state in culprits(states):
        if not state.stuck:
            continue
        for helper in state.helpers:
            if helper.at_work:
                title = f"rank {state.beat.rank}, process {helper.pid} that judges, innermost call first:"
                shown[title] = [frame.words() for frame in helper.frames]
        if state.stack:
            shown[f"rank {state.beat.rank}, innermost call first:"] = state.stack
    return shown


def _numbers(state: RankState) -> dict[str, Any]:
    helpers = [
        {"pid": helper.pid, "state": helper.state, "stack": [frame.words() for frame in helper.frames]}
        for helper in state.helpers
    ]
    return asdict(state.beat) | {
        "status": state.status,
        "seconds": state.seconds,
        "stuck": state.stuck,
        "stack": list(state.stack),
        "helpers": helpers,
    }

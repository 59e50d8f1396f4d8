"""What a run's metrics say of how it went: how far it is, how long phases take, signs that it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from lightrft_apps.diagnosis.findings import Finding
from lightrft_apps.recording.lines import RunLines
from lightrft_core.vitals import Vitals
from lightrft_strategy.training.beats import Beat

SLOW = 3.0
"""Times its median that a phase may take before it is remarked upon, and of the last steps' median to all steps'."""
SHORTEST = 5.0
"""Seconds below which no phase is remarked upon."""
LAST = 5
_NEEDED = ("rollout/entropy_estimate", "rollout/length_mean", "group/zero_signal_share", "rollout/truncated_share")


def phase_seconds(lines: Sequence[Mapping[str, Any]], phase: str) -> list[float]:
    """What a phase has taken, step by step."""
    values = (line.get(f"time/{phase}") for line in lines)
    return [float(value) for value in values if isinstance(value, int | float)]


def against_median(beat: Beat, now: float, lines: Sequence[Mapping[str, Any]]) -> str:
    """That the present phase takes longer than it did, "" if it does not."""
    took, before = now - beat.since, phase_seconds(lines, beat.phase)
    usual = median(before) if before else 0.0
    if not before or took < max(SHORTEST, SLOW * usual):
        return ""
    times = took / max(usual, 1e-3)
    return f"{beat.phase} has taken {took:.0f} s so far, {times:.0f}x its median of {usual:.3g} s"


def steps_done(metrics: RunLines, num_steps: int | None) -> Iterator[Finding]:
    """How far the run is, what its last steps were like, and what its metrics warn of."""
    if metrics.torn:
        what = ", ".join(map(str, metrics.torn[:3]))
        yield Finding("metrics.jsonl", "note", f"line {what} cannot be read: a kill has torn it; going on removes it")
    if not metrics.lines:
        yield Finding("steps", "note", "no step is done yet")
        return
    last = metrics.lines[-1]
    goal = f" of {num_steps}" if num_steps else ""
    shown = [f"{name} {last[name]:.4g}" for name in _SHOWN if isinstance(last.get(name), int | float)]
    yield Finding("steps", "well", f"{last['step']}{goal} done; the last: {', '.join(shown) or 'no figures'}")
    yield from _slower(metrics.lines)
    yield from _signs(metrics.lines)


_SHOWN = ("reward/mean", "eval/accuracy", "policy/nll", "rm/accuracy", "time/step")


def _slower(lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Phases that have become slower."""
    names = dict.fromkeys(name for line in lines for name in line if name.startswith("time/"))
    for name in names:
        took = phase_seconds(lines, name.removeprefix("time/"))
        if (
            name in ("time/load_average", "time/tokens_per_second", "time/bandwidth_utilisation")
            or len(took) < 2 * LAST
        ):
            continue
        lately, usual = median(took[-LAST:]), median(took)
        if lately > max(SHORTEST, SLOW * usual):
            yield Finding(name, "note", f"{lately:.3g} s in the last {LAST} steps, {usual:.3g} s in the median of all")


def _signs(lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the run warned of, that stands at its last step."""
    vitals, warned = Vitals(), dict[str, str]()
    learnt = [line for line in lines if line["step"] > 0 and all(name in line for name in _NEEDED)]
    for line in learnt:
        before = set(vitals.standing)
        new = vitals.check(line)
        warned |= dict(zip([sign for sign in vitals.standing if sign not in before], new, strict=True))
    for sign in vitals.standing:
        yield Finding(f"warning: {sign}", "note", warned[sign])
    skipped = {
        name for line in lines[-LAST:] for name, value in line.items() if name.endswith("/skipped_share") and value
    }
    for name in sorted(skipped):
        yield Finding(
            name, "note", f"optimiser steps were skipped in the last {LAST} steps: loss or gradient is not finite"
        )

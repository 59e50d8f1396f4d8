"""How a run ended: summary.json, and the same for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_core import TrainState

_BARS = "▁▂▃▄▅▆▇█"


def write_summary(run: RunDirectory, state: TrainState) -> None:
    """Write summary.json, the last file of a run.

    accuracy_before and accuracy_after: {value, n, interval}, null without an evaluation set.
    rewards: mean reward by step. seconds and cpu_seconds: over all steps and evaluations.
    """
    lines = read_lines(run.metrics).lines
    evaluations = [asdict(state.evaluations[step]) for step in sorted(state.evaluations)]
    summary = {
        "steps": state.step,
        "optimiser_steps": state.optimiser_steps,
        "accuracy_before": evaluations[0] if evaluations else None,
        "accuracy_after": evaluations[-1] if evaluations else None,
        "rewards": [line.get("reward/mean") for line in lines if line["step"] > 0],
        "seconds": sum(line["time/step"] for line in lines),
        "cpu_seconds": sum(line["time/cpu"] for line in lines),
    }
    keep_summary(run.summary, summary)


def keep_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a summary; the file appears whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    unfinished.rename(path)


def read_summary(path: Path) -> dict[str, Any]:
    """What keep_summary wrote."""
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def show_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Print how the run went and where its files are."""
    console = Console(stderr=True, highlight=False)
    rewards = [reward for reward in summary["rewards"] if reward is not None]
    if rewards:
        console.print(f"reward    {sparkline(rewards)}  {rewards[0]:.3f} -> {rewards[-1]:.3f}")
    for name in ("before", "after"):
        estimate = summary[f"accuracy_{name}"]
        if estimate:
            console.print(accuracy_line(f"{name:<6}", estimate, "problems"))
    console.print(
        f"{summary['steps']} steps, {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} s of CPU). "
        f"Model: {folder / 'final'}  metrics: {folder / 'metrics.jsonl'}  answers: {folder / 'trajectories'}",
        markup=False,
        soft_wrap=True,
    )


def accuracy_line(which: str, estimate: Mapping[str, Any], problems: str) -> str:
    """An accuracy on so many of what is held out, with its interval."""
    low, high = estimate["interval"]
    return (
        f"held-out accuracy {which} [bold]{estimate['value']:6.1%}[/bold]  "
        f"(95% interval {low:.1%} to {high:.1%}, {estimate['n']} {problems})"
    )


def sparkline(values: list[float]) -> str:
    """The values as a row of bars, lowest to highest."""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)

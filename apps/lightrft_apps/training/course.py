"""What every supervised run tells of its course: the loss by step, what was read, how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.recording.summary import sparkline
from lightrft_core import TrainState

BARS = 60
"""Of the course of the loss, at most."""


def course_of(lines: Sequence[Mapping[str, Any]], state: TrainState, loss: str) -> dict[str, Any]:
    """What a summary has of it. loss: the metric of that name, by step. seconds: over all steps and evaluations."""
    return {
        "steps": state.step,
        "optimiser_steps": state.optimiser_steps,
        "losses": [line.get(loss) for line in lines if line["step"] > 0],
        "tokens": round(sum(line.get("data/tokens", 0) for line in lines)),
        "seconds": sum(line["time/step"] for line in lines),
        "cpu_seconds": sum(line["time/cpu"] for line in lines),
    }


def show_losses(console: Console, summary: Mapping[str, Any], unit: str = "") -> None:
    """A line of bars, and where the loss began and ended."""
    losses = [loss for loss in summary["losses"] if loss is not None]
    if losses:
        bars = sparkline(losses[:: -(-len(losses) // BARS)])
        console.print(f"loss      {bars}  {losses[0]:.3f} -> {losses[-1]:.3f}{unit}")


def show_end(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """How long it took, and where everything is."""
    console.print(
        f"{summary['steps']} steps, {summary['tokens']} tokens, {summary['seconds']:.0f} s "
        f"({summary['cpu_seconds']:.0f} s of CPU). Model: {folder / 'final'}  metrics: {folder / 'metrics.jsonl'}",
        markup=False,
        soft_wrap=True,
    )

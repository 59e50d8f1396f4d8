"""How a supervised run ended: summary.json, and the same for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.run_directory import RunDirectory
from lightrft_apps.summary import keep_summary, sparkline
from lightrft_core import TrainState

BARS = 60
"""Of the course of the loss, at most."""


def write_summary(run: RunDirectory, state: TrainState) -> None:
    """Write summary.json, the last file of a run.

    losses: mean -log p of the learnt tokens by step, in nats. loss_before and loss_after: the same of what is held out,
    null without an evaluation set. seconds and cpu_seconds: over all steps and evaluations.
    """
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    held_out = [line["eval/nll"] for line in lines if "eval/nll" in line]
    summary = {
        "steps": state.step,
        "optimiser_steps": state.optimiser_steps,
        "losses": [line.get("policy/nll") for line in lines if line["step"] > 0],
        "loss_before": held_out[0] if held_out else None,
        "loss_after": held_out[-1] if held_out else None,
        "tokens": round(sum(line.get("data/tokens", 0) for line in lines)),
        "seconds": sum(line["time/step"] for line in lines),
        "cpu_seconds": sum(line["time/cpu"] for line in lines),
    }
    keep_summary(run.summary, summary)


def show_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Print how the run went and where its files are."""
    console = Console(stderr=True, highlight=False)
    losses = [loss for loss in summary["losses"] if loss is not None]
    if losses:
        course = sparkline(losses[:: -(-len(losses) // BARS)])
        console.print(f"loss      {course}  {losses[0]:.3f} -> {losses[-1]:.3f} nats a token")
    if summary["loss_before"] is not None:
        console.print(f"held out  {summary['loss_before']:.3f} -> [bold]{summary['loss_after']:.3f}[/bold]")
    console.print(
        f"{summary['steps']} steps, {summary['tokens']} tokens, {summary['seconds']:.0f} s "
        f"({summary['cpu_seconds']:.0f} s of CPU). Model: {folder / 'final'}  metrics: {folder / 'metrics.jsonl'}",
        markup=False,
        soft_wrap=True,
    )

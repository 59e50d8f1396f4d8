"""How supervised fine-tuning ended: summary.json, and the same for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.recording.summary import keep_summary
from lightrft_apps.training.course import course_of, show_end, show_losses
from lightrft_core import TrainState


def write_summary(run: RunDirectory, state: TrainState) -> None:
    """Write summary.json, the last file of a run.

    losses: mean -log p of the learnt tokens by step, in nats. loss_before and loss_after: the same of what is held out,
    null without an evaluation set. seconds and cpu_seconds: over all steps and evaluations.
    """
    lines = read_lines(run.metrics).lines
    keep_summary(run.summary, course_of(lines, state, "policy/nll") | losses_around(lines))


def losses_around(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of what is held out, before and after; None without."""
    held_out = [line["eval/nll"] for line in lines if "eval/nll" in line]
    return {"loss_before": held_out[0] if held_out else None, "loss_after": held_out[-1] if held_out else None}


def show_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Print how the run went and where its files are."""
    console = Console(stderr=True, highlight=False)
    show_losses(console, summary, " nats a token")
    if summary["loss_before"] is not None:
        console.print(f"held out  {summary['loss_before']:.3f} -> [bold]{summary['loss_after']:.3f}[/bold]")
    show_end(console, summary, folder)

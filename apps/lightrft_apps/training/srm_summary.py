"""How the training of a reward model ended: summary.json, and the same for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.recording.summary import accuracy_line, keep_summary
from lightrft_apps.training.course import course_of, show_end, show_losses
from lightrft_core import Estimate, TrainState
from lightrft_core.evaluation import wilson_interval

AROUND = ("before", "after")


def write_summary(run: RunDirectory, state: TrainState, decided: Mapping[str, int], unit: str) -> None:
    """Write summary.json, the last file of a run.

    decided: head -> how many of what is held out, comparisons or steps as `unit` says, are of known worth.
    losses: by step. accuracy_before and accuracy_after: head -> {value, n, interval} of these; squared_error_before and
    squared_error_after: head -> mean squared error, of regression. Empty without anything held out.
    """
    lines = read_lines(run.metrics).lines
    looks = [line for line in lines if any(name.startswith("eval/") for name in line)]
    summary = course_of(lines, state, "rm/loss") | {"accuracy_of": unit}
    for when, line in zip(AROUND, (looks[0], looks[-1]) if looks else ({}, {}), strict=True):
        accuracies = {head: line.get(named("accuracy", head, decided)) for head in decided}
        errors = {head: line.get(named("squared_error", head, decided)) for head in decided}
        summary[f"accuracy_{when}"] = {
            head: asdict(Estimate(value, decided[head], wilson_interval(value, decided[head])))
            for head, value in accuracies.items()
            if value is not None
        }
        summary[f"squared_error_{when}"] = {head: value for head, value in errors.items() if value is not None}
    keep_summary(run.summary, summary)


def show_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Print how the run went and where its files are."""
    console = Console(stderr=True, highlight=False)
    show_losses(console, summary)
    for when in AROUND:
        for head, estimate in summary[f"accuracy_{when}"].items():
            console.print(accuracy_line(f"{head} {when}", estimate, summary["accuracy_of"]), soft_wrap=True)
    for head, before in summary["squared_error_before"].items():
        after = summary["squared_error_after"][head]
        console.print(f"held-out squared error {head}  {before:.3f} -> [bold]{after:.3f}[/bold]")
    show_end(console, summary, folder)


def held_out_moments(line: Mapping[str, Any], heads: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """(means, standard deviations) by head of the rewards that the model of a metrics line gives to what is held out.

    Empty where there was no evaluation.
    """
    names = {head: named("reward", head, heads) for head in heads}
    means = {head: line[name] for head, name in names.items() if name in line}
    squares = {head: line[f"{names[head]}_square"] for head in means}
    return means, {head: sqrt(max(0.0, squares[head] - mean**2)) for head, mean in means.items()}


def named(metric: str, head: str, heads: Sequence[str] | Mapping[str, Any]) -> str:
    """What a metrics line calls a number of a head that is measured on what is held out."""
    return f"eval/{head}/{metric}" if len(heads) > 1 else f"eval/{metric}"

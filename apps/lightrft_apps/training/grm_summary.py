"""How the training of a generative judge ended: summary.json, and the same for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.recording.summary import keep_summary
from lightrft_apps.training.course import course_of, show_end, show_losses
from lightrft_apps.training.sft_summary import losses_around
from lightrft_core import TrainState
from lightrft_rewards.evaluation import JudgedComparison, measure

SHOWN = {
    "accuracy": "right, both orders together",
    "right_in_both_orders": "right in both orders",
    "same_in_both_orders": "says the same in both orders",
}
"""What people are shown of the agreement."""


def write_summary(run: RunDirectory, state: TrainState, judged: Sequence[JudgedComparison]) -> None:
    """Write summary.json, the last file of a run.

    losses: mean -log p of the judgements' tokens by step, in nats; loss_before, loss_after: the same of what is held
    out, null without. agreement: head -> what the trained judge says of that, asked greedily and in both orders.
    """
    lines = read_lines(run.metrics).lines
    heads = dict.fromkeys(comparison.head for comparison in judged)
    agreement = {head: agreement_of([each for each in judged if each.head == head]) for head in heads}
    keep_summary(run.summary, course_of(lines, state, "policy/nll") | losses_around(lines) | {"agreement": agreement})


def agreement_of(judged: Sequence[JudgedComparison]) -> dict[str, Any]:
    """In one head: shares with their intervals, null where nothing tells them.

    accuracy: of comparisons with unequal labels, those whose better answer was preferred more often; where the orders
    contradict each other, it was not. right_in_both_orders, same_in_both_orders: see PositionBias. unreadable: the
    share of judgements that cannot be read. rank_correlation: of grades with labels.
    """
    found = measure(judged)
    position, grading = found.position, found.grading
    shares = {
        "accuracy": found.agreement.accuracy,
        "right_in_both_orders": position and position.agreeing,
        "same_in_both_orders": position and position.consistent,
    }
    unreadable = position.failed / position.askings if position else found.failed / found.comparisons
    return {name: share and asdict(share) for name, share in shares.items()} | {
        "unreadable": unreadable,
        "rank_correlation": grading and grading.spearman,
    }


def show_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Print how the run went and where its files are."""
    console = Console(stderr=True, highlight=False)
    show_losses(console, summary, " nats a token")
    for head, agreement in summary["agreement"].items():
        for name, said in SHOWN.items():
            if (found := agreement[name]) is not None:
                low, high = found["interval"]
                console.print(
                    f"{head}: {said} [bold]{found['value']:.1%}[/bold] of {found['n']} held out "
                    f"(95% interval {low:.1%} to {high:.1%})",
                    soft_wrap=True,
                )
        console.print(f"{head}: {agreement['unreadable']:.1%} of the judgements cannot be read")
    show_end(console, summary, folder)

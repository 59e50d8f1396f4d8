"""One optimiser step of one model, and how often and which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightrft_core.batching import Batch
from lightrft_core.metrics import Metrics
from lightrft_core.pace import Paces
from lightrft_core.protocols import Loss, Strategy


@dataclass(frozen=True)
class Schedule:
    """When things happen.

    freezing_actor_steps: rollout batches in which only the critic learns. max_skipped_steps: non-finite optimiser steps
    in a row to endure. save_steps, eval_steps: every how many rollout batches; 0 for the last one only.
    """

    freezing_actor_steps: int = 0
    max_skipped_steps: int = 5
    save_steps: int = 0
    eval_steps: int = 0


def update(
    strategy: Strategy, model: str, batches: Sequence[Batch], loss: Loss, metrics: Metrics, paces: Paces | None = None
) -> str | None:
    """One optimiser step of a model. Returns why it failed, "" if it did not.

    None: it is neither, for nothing was to be learnt, or only the loss scale had to be lowered.
    """
    if model == "policy":
        metrics.mean("optimiser/no_signal_share", [not batches])
    if not batches:
        strategy.skip_step(model)
        return None
    report = strategy.train_step(model, batches, loss)
    metrics.merge(report.summary(model))
    if paces is not None:
        paces.note(report.paces)
    return None if report.overflowed else report.fault

"""Core's Strategy over any kind of holding: the optimiser step as all of them take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightrft_core import Batch, Metrics, OneRank, Ranks, StepReport
from lightrft_core.protocols import Loss, T
from lightrft_strategy.devices import device
from lightrft_strategy.training.checkpoint import load_tensors, save_tensors
from lightrft_strategy.training.held import Hold
from lightrft_strategy.training.optimiser import OptimiserConfig
from lightrft_strategy.training.ranks import first_fault
from lightrft_strategy.training.whole import Whole


class TorchStrategy:
    """Holds the models of a run by name; those with an optimiser configuration are trained, the others are frozen.

    models: name -> module that maps a Batch to its output; all in float32 (or float64).
    optimisers: name -> its AdamW.
    bf16: compute in bfloat16; master weights, gradient sums and moments stay in float32.
    hold: how a model lives on the ranks; ranks: None: this process alone.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        optimisers: Mapping[str, OptimiserConfig],
        *,
        bf16: bool = False,
        hold: Hold = Whole,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or OneRank()
        self.rank, self.world_size = self.ranks.rank, self.ranks.world_size
        dtype = torch.bfloat16 if bf16 else None
        self.held = {name: hold(model, optimisers.get(name), dtype, self.ranks) for name, model in models.items()}
        self.optimisers, self.attempts = dict(optimisers), dict.fromkeys(optimisers, 0)

    @torch.no_grad()
    def forward(self, model: str, batches: Sequence[Batch]) -> list[Any]:
        """The named model's output on each batch, without gradient."""
        return [self.held[model].module(_on_device(batch)) for batch in batches]

    def train_step(self, model: str, batches: Sequence[Batch], loss: Loss) -> StepReport:
        """One optimiser step over micro-batches; a loss or gradient that is not finite skips it on all ranks."""
        held, total, metrics, fault = self.held[model], 0.0, Metrics(), ""
        self.attempts[model] += 1
        for number, batch in enumerate(map(_on_device, batches), start=1):
            value, numbers = loss(held.module(batch), batch)
            total += value.item()
            if not fault and not value.isfinite():
                fault = f"the loss is {value.item()} in micro-batch {number} of {len(batches)}"
            if not fault:
                metrics.merge(numbers)
            held.backward(value)
        totals = self.gather([(total, fault)])
        fault = first_fault([fault for _, fault in totals])
        learning_rate = self.optimisers[model].learning_rate_at(self.attempts[model])
        if fault:
            norm = float("nan")
            held.clear()
        else:
            norm, fault = held.step(learning_rate)
        return StepReport(sum(total for total, _ in totals), norm, learning_rate, metrics, fault)

    def skip_step(self, model: str) -> None:
        """Count a step that has nothing to learn from: the schedule advances, weights and moments stay."""
        self.attempts[model] += 1

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks, rank after rank."""
        return self.ranks.gather(items)

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        """The metrics of all ranks as one."""
        return self.ranks.reduce(metrics)

    def save(self, folder: Path) -> None:
        """Every trained model's weights, moments and counters."""
        for name, attempts in self.attempts.items():
            save_tensors(folder / name, self.held[name].state(), {"attempts": attempts}, self.ranks)

    def load(self, folder: Path) -> None:
        """What save wrote, by whatever kind of holding, on however many ranks. Raises ValueError if it is of others."""
        for name in self.attempts:
            state = dict(self.held[name].state())
            self.attempts[name] = load_tensors(folder / name, state, self.ranks)["attempts"]
            self.held[name].load_state(state)


def _on_device(batch: Batch) -> Batch:
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: value.to(device()) for name, value in tensors.items() if isinstance(value, Tensor)})

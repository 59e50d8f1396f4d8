"""Core's Strategy over any kind of holding: the optimiser step as all of them take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightrft_core import Batch, Metrics, OneRank, Pace, Ranks, StepReport
from lightrft_core.protocols import Loss, T
from lightrft_strategy.devices import device
from lightrft_strategy.training.average import Average
from lightrft_strategy.training.checkpoint import load_tensors, save_tensors
from lightrft_strategy.training.held import Hold
from lightrft_strategy.training.optimiser import OptimiserConfig
from lightrft_strategy.training.ranks import first_fault
from lightrft_strategy.training.scaling import LossScale
from lightrft_strategy.training.stopwatch import Stopwatch
from lightrft_strategy.training.whole import Whole


class TorchStrategy:
    """Holds the models of a run by name; those with an optimiser configuration are trained, the others are frozen.

    models: name -> module that maps a Batch to its output; all in float32 (or float64).
    optimisers: name -> its AdamW.
    bf16, fp16: compute in bfloat16, or in float16 with a loss scale for each trained model; master weights, gradient
    sums and moments stay in float32.
    averages: name -> beta of the moving average that is kept of its weights.
    hold: how a model lives on the ranks; ranks: None: this process alone.
    timed: measure how long each rank computes; not where weights are gathered within a layer, which is waiting too.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        optimisers: Mapping[str, OptimiserConfig],
        *,
        bf16: bool = False,
        fp16: bool = False,
        averages: Mapping[str, float] | None = None,
        hold: Hold = Whole,
        ranks: Ranks | None = None,
        timed: bool = True,
    ) -> None:
        self.ranks = ranks or OneRank()
        self.rank, self.world_size = self.ranks.rank, self.ranks.world_size
        self.learner, self.learners = self.ranks.learner, self.ranks.learners
        self.speaks = self.rank % (self.world_size // self.learners) == 0
        self.timed, self.seconds = timed, list[float]()
        self.watches = {name: Stopwatch(models[name] if timed and self.speaks else None) for name in optimisers}
        dtype = torch.float16 if fp16 else torch.bfloat16 if bf16 else None
        self.held = {name: hold(model, optimisers.get(name), dtype, self.ranks) for name, model in models.items()}
        self.optimisers, self.attempts = dict(optimisers), dict.fromkeys(optimisers, 0)
        self.scales = dict.fromkeys(optimisers, LossScale()) if fp16 else {}
        self.averages = {name: Average(self.held[name], beta) for name, beta in (averages or {}).items()}

    @torch.no_grad()
    def forward(self, model: str, batches: Sequence[Batch]) -> list[Any]:
        """The named model's output on each batch, without gradient."""
        return [self.held[model].module(_on_device(batch)) for batch in batches]

    def train_step(self, model: str, batches: Sequence[Batch], loss: Loss) -> StepReport:
        """One optimiser step over micro-batches; a loss or gradient that is not finite skips it on all ranks.

        A gradient that is not finite halves the loss scale where there is one: raises TrainingDiverged if it cannot.
        The learning rate is that of the attempt, taken or not: it falls with the run, whatever happens on the way.
        """
        held, total, metrics, fault = self.held[model], 0.0, Metrics(), ""
        watch = self.watches[model]
        self.attempts[model] += 1
        held.scale = float(self.scales[model].value) if model in self.scales else 1.0
        if model in self.averages:
            self.averages[model].begin()
        for number, batch in enumerate(map(_on_device, batches), start=1):
            with watch.running(batch.work > 0):
                output = held.module(batch)
            value, numbers = loss(output, batch)
            total += value.item() if self.speaks else 0.0
            if not fault and not value.isfinite():
                fault = f"the loss is {value.item()} in micro-batch {number} of {len(batches)}"
            if self.speaks and not fault:
                metrics.merge(numbers)
            held.backward(value)
        pace = [Pace(sum(batch.work for batch in batches), watch.take())] if self.timed and self.speaks else []
        totals = self.gather([(total, fault, pace)])
        paces = tuple(chain.from_iterable(pace for *_, pace in totals))
        self.seconds = [*map(sum, zip_longest(self.seconds, (pace.seconds for pace in paces), fillvalue=0.0))]
        fault = first_fault([fault for _, fault, _ in totals])
        learning_rate = self.optimisers[model].learning_rate_at(self.attempts[model])
        if fault:
            norm, overflowed = float("nan"), False
            held.clear()
        else:
            norm, fault, overflowed = self._step(model, learning_rate)
        return StepReport(
            sum(total for total, *_ in totals),
            norm,
            learning_rate,
            metrics,
            fault,
            paces=paces,
            loss_scale=held.scale if model in self.scales else None,
            overflowed=overflowed,
        )

    def _step(self, model: str, learning_rate: float) -> tuple[float, str, bool]:
        """(norm of the gradient, why nothing was done, whether for nothing but too large a loss scale)."""
        norm, fault = self.held[model].step(learning_rate)
        overflowed = bool(fault) and model in self.scales
        if model in self.scales:
            scale = self.scales[model]
            self.scales[model] = scale.lowered(fault) if overflowed else scale.kept()
        if not fault and model in self.averages:
            self.averages[model].update()
        return norm, "" if overflowed else fault, overflowed

    def imbalance(self) -> dict[str, float]:
        """time/imbalance since the last call: what the slowest learner computed in seconds, by their mean."""
        seconds, self.seconds = self.seconds, []
        return {"time/imbalance": max(seconds) * len(seconds) / sum(seconds)} if sum(seconds) else {}

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
            counters = {"attempts": attempts} | (self.scales[name].counters() if name in self.scales else {})
            save_tensors(folder / name, self._state(name), counters, self.ranks)

    def load(self, folder: Path, *, checksums: bool = True) -> None:
        """What save wrote, by whatever kind of holding, on however many ranks, in whatever precision it computed.

        checksums: compare every byte; False for what newest_whole has just found by its checksums.
        The loss scale begins anew where the checkpoint has none, and ends where it is not needed any more. Raises
        ValueError if it is of other models.
        """
        for name in self.attempts:
            state = self._state(name)
            counters = load_tensors(folder / name, state, self.ranks, checksums=checksums)
            self.attempts[name] = counters["attempts"]
            if name in self.scales:
                self.scales[name] = LossScale.of(counters)
            self.held[name].load_state(state)
            if name in self.averages:
                self.averages[name].load_state(state)

    def _state(self, name: str) -> dict[str, Tensor]:
        average = self.averages[name].state() if name in self.averages else {}
        return {**self.held[name].state(), **average}


def _on_device(batch: Batch) -> Batch:
    columns = {field.name: getattr(batch, field.name) for field in fields(batch)}
    moved: dict[str, Any] = {name: value.to(device()) for name, value in columns.items() if isinstance(value, Tensor)}
    return replace(batch, **moved)

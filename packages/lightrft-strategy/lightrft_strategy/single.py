"""One process, any number of models: the strategy of a laptop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightrft_core import Batch, Metrics, StepReport
from lightrft_core.protocols import Loss
from lightrft_strategy.devices import device
from lightrft_strategy.optimiser import MasterOptimiser, OptimiserConfig, set_precision


class SingleProcess:
    """Holds the models of a run by name; those with an optimiser configuration are trained, the others are frozen.

    models: name -> module that maps a Batch to its output; all in float32.
    optimisers: name -> its AdamW.
    bf16: compute in bfloat16; master weights, gradient sums and moments stay in float32.
    """

    rank = 0
    world_size = 1

    def __init__(
        self, models: Mapping[str, nn.Module], optimisers: Mapping[str, OptimiserConfig], *, bf16: bool = False
    ) -> None:
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.models = dict(models)
        for model in self.models.values():
            model.to(device())
        self.optimisers = {name: MasterOptimiser(models[name], config, dtype) for name, config in optimisers.items()}
        for name in models.keys() - optimisers.keys():
            set_precision(self.models[name].requires_grad_(False), dtype)

    @torch.no_grad()
    def forward(self, model: str, batches: Sequence[Batch]) -> list[Any]:
        """The named model's output on each batch, without gradient."""
        return [self.models[model](_on_device(batch)) for batch in batches]

    def train_step(self, model: str, batches: Sequence[Batch], loss: Loss) -> StepReport:
        """One optimiser step over micro-batches; a loss or gradient that is not finite skips it."""
        optimiser = self.optimisers[model]
        optimiser.attempts += 1
        total, metrics, fault, norm = 0.0, Metrics(), "", float("nan")
        for number, batch in enumerate(map(_on_device, batches), start=1):
            value, numbers = loss(self.models[model](batch), batch)
            total += value.item()
            if not value.isfinite():
                fault = f"the loss is {value.item()} in micro-batch {number} of {len(batches)}"
                break
            metrics.merge(numbers)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.gather_gradients()
        if not fault:
            norm, fault = optimiser.step()
        optimiser.clear()
        return StepReport(total, norm, optimiser.config.learning_rate_at(optimiser.attempts), metrics, fault)

    def skip_step(self, model: str) -> None:
        """Count a step that has nothing to learn from: the schedule advances, weights and moments stay."""
        self.optimisers[model].attempts += 1

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """The values as they are: there is one rank."""
        return list(values)

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        """The metrics as they are: there is one rank."""
        return metrics.result()

    def save(self, folder: Path) -> None:
        """Every trained model's weights, moments and counters."""
        for name, optimiser in self.optimisers.items():
            optimiser.save(folder / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """What save wrote."""
        for name, optimiser in self.optimisers.items():
            optimiser.load(folder / f"{name}.safetensors")


def _on_device(batch: Batch) -> Batch:
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: value.to(device()) for name, value in tensors.items() if isinstance(value, Tensor)})

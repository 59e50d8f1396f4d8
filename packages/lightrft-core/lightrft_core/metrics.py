"""Numbers of a step, added up over tokens, micro-batches and ranks before they are divided once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Metrics:
    """Means as (sum, count) and maxima, by name; merging in any order gives the same means."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}
        self.maxima: dict[str, float] = {}

    def mean(self, name: str, values: Tensor | Sequence[float]) -> None:
        """Let these values take part in the mean called `name`."""
        values = torch.as_tensor(values, dtype=torch.float64).detach()
        total, count = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (total + float(values.sum()), count + values.numel())

    def max(self, name: str, values: Tensor | Sequence[float]) -> None:
        """Let these values take part in the maximum called `name`."""
        values = torch.as_tensor(values, dtype=torch.float64).detach()
        if values.numel():
            self.maxima[name] = max(self.maxima.get(name, -torch.inf), float(values.max()))

    def merge(self, other: Metrics) -> None:
        for name, (total, count) in other.sums.items():
            mine, number = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (mine + total, number + count)
        for name, value in other.maxima.items():
            self.maxima[name] = max(self.maxima.get(name, -torch.inf), value)

    def result(self) -> dict[str, float]:
        """Every number by name. A mean of nothing is left out."""
        return {name: total / count for name, (total, count) in self.sums.items() if count} | self.maxima

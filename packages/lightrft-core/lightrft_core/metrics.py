"""Numbers of a step, added up over tokens, micro-batches and ranks before they are divided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenNumbers:
    """Of one batch: numbers of its loss tokens, by name [tokens]; how many belong to each of its rollouts, [batch]."""

    places: tuple[int, ...]
    lengths: Tensor
    columns: Mapping[str, Tensor]

    def on_host(self) -> TokenNumbers:
        """The same in host memory, by which other ranks can be told."""
        return TokenNumbers(self.places, self.lengths.cpu(), {name: each.cpu() for name, each in self.columns.items()})


class Metrics:
    """Means as (sum, count), maxima and effective shares, by name; merging in any order gives the same numbers.

    tokens: numbers of loss tokens, a part for each batch they were computed with, in that order.
    """

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}
        self.maxima: dict[str, float] = {}
        self.weights: dict[str, tuple[float, float, float]] = {}
        self.tokens: list[TokenNumbers] = []

    def mean(self, name: str, values: Tensor | Sequence[float]) -> None:
        """Let these values take part in the mean called `name`."""
        values = torch.as_tensor(values, dtype=torch.float64).detach()
        total, count = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (total + float(values.sum()), count + values.numel())

    def weighted_mean(self, name: str, value: Tensor, weight: float) -> None:
        """Let one value take part in the mean called `name` with this weight."""
        total, count = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (total + float(value.detach()) * weight, count + weight)

    def max(self, name: str, values: Tensor | Sequence[float]) -> None:
        """Let these values take part in the maximum called `name`."""
        values = torch.as_tensor(values, dtype=torch.float64).detach()
        if values.numel():
            self.maxima[name] = max(self.maxima.get(name, -torch.inf), float(values.max()))

    def effective_share(self, name: str, weights: Tensor) -> None:
        """Let these weights take part in the effective sample size called `name`, as a share: mean^2 / mean square."""
        weights = weights.double().detach()
        mine = self.weights.get(name, (0.0, 0.0, 0.0))
        new = (float(weights.sum()), float(weights.square().sum()), float(weights.numel()))
        self.weights[name] = (mine[0] + new[0], mine[1] + new[1], mine[2] + new[2])

    def by_token(self, places: Sequence[int], sequence_ids: Tensor, columns: Mapping[str, Tensor]) -> None:
        """Keep numbers of loss tokens, each [tokens], that belong row by row to the rollouts at these places."""
        lengths = torch.bincount(sequence_ids, minlength=len(places))
        kept = {name: column.detach().float() for name, column in columns.items()}
        self.tokens.append(TokenNumbers(tuple(places), lengths, kept))

    def merge(self, other: Metrics) -> None:
        for name, (total, count) in other.sums.items():
            mine, number = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (mine + total, number + count)
        for name, new in other.weights.items():
            old = self.weights.get(name, (0.0, 0.0, 0.0))
            self.weights[name] = (old[0] + new[0], old[1] + new[1], old[2] + new[2])
        for name, value in other.maxima.items():
            self.maxima[name] = max(self.maxima.get(name, -torch.inf), value)
        self.tokens += other.tokens

    def result(self) -> dict[str, float]:
        """Every number by name. A mean of nothing is left out."""
        means = {name: total / count for name, (total, count) in self.sums.items() if count}
        shares = {name: total**2 / (squares * n) for name, (total, squares, n) in self.weights.items() if squares}
        return means | shares | self.maxima

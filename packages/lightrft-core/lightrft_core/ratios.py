"""Probability ratios that stay finite, and their means over a sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""e^20 lies far outside any trust region: from here on the exponential goes on as its tangent."""


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """exp up to MAX_LOG_RATIO, its tangent beyond: finite everywhere, with a gradient that never vanishes there.

    A clamp instead would take the gradient away exactly where a token has to be pulled back.
    """
    bounded = log_ratio.clamp(max=MAX_LOG_RATIO)
    return bounded.exp() * (1 + (log_ratio - bounded))


@dataclass(frozen=True)
class Tokens:
    """What an objective sees: numbers of the loss tokens of a micro-batch.

    logprobs, old_logprobs, advantages: [tokens]. sequence_ids: [tokens] which answer a token belongs to.
    Whole answers only: every token of an answer is here.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    sequence_ids: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """[tokens] log pi - log pi_old."""
        return self.logprobs - self.old_logprobs

    def sequence_mean(self, values: Tensor) -> Tensor:
        """[tokens] the mean of values [tokens] over the answer each token belongs to."""
        return sequence_sum(values, self.sequence_ids) / sequence_lengths(self.sequence_ids)


def sequence_sum(values: Tensor, sequence_ids: Tensor) -> Tensor:
    """[tokens] the sum of values [tokens] over the answer each token belongs to."""
    rows = int(sequence_ids.max()) + 1 if sequence_ids.numel() else 0
    return values.new_zeros(rows).index_add(0, sequence_ids, values)[sequence_ids]


def sequence_lengths(sequence_ids: Tensor) -> Tensor:
    """[tokens] how many loss tokens the answer has that each token belongs to."""
    return torch.bincount(sequence_ids)[sequence_ids]

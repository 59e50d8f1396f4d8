"""Corrections for the gap between sampler and trainer: weights pi_old(trainer) / pi_rollout(engine), without gradient.

TIS (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training") is token and clip with
no lower bound; IcePop (Ling team 2025) is token and mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from lightrft_core.metrics import Metrics
from lightrft_core.ratios import MAX_LOG_RATIO, sequence_lengths, sequence_sum

LENGTH_BUCKETS = (128, 512, 2048, 8192)
"""Upper ends of the answer lengths, in tokens, that the gap is told apart by."""


class CorrectionLevel(StrEnum):
    """What one weight belongs to."""

    TOKEN = "token"
    SEQUENCE = "sequence"
    """The product over the answer."""
    GEOMETRIC = "geometric"
    """The geometric mean over the answer."""


class CorrectionMode(StrEnum):
    """What happens to a weight out of bounds."""

    CLIP = "clip"
    """It becomes the bound."""
    MASK = "mask"
    """It becomes 0: what it belongs to teaches nothing."""


@dataclass(frozen=True)
class Correction:
    """One correction: level, mode and the bounds of its weights."""

    level: CorrectionLevel = CorrectionLevel.TOKEN
    mode: CorrectionMode = CorrectionMode.CLIP
    low: float = 0.0
    high: float = 2.0

    def weights(self, old_logprobs: Tensor, rollout_logprobs: Tensor, sequence_ids: Tensor) -> tuple[Tensor, Tensor]:
        """(weights, touched), both [tokens]: bounded for any finite log-probabilities."""
        log_weight = (old_logprobs - rollout_logprobs).detach()
        if self.level is not CorrectionLevel.TOKEN:
            log_weight = sequence_sum(log_weight, sequence_ids)
        if self.level is CorrectionLevel.GEOMETRIC:
            log_weight = log_weight / sequence_lengths(sequence_ids)
        weight = log_weight.exp()
        touched = ~((weight >= self.low) & (weight <= self.high))
        if self.mode is CorrectionMode.MASK:
            return weight.where(~touched, 0.0), touched
        return weight.clamp(self.low, self.high), touched


TIS = Correction()
ICEPOP = Correction(mode=CorrectionMode.MASK, low=0.5, high=5.0)


def measure_gap(
    old_logprobs: Tensor, rollout_logprobs: Tensor, sequence_ids: Tensor, touched: Tensor, metrics: Metrics
) -> None:
    """Note how far trainer and engine disagree; touched: [tokens] whether the run's correction bounds a token."""
    gap = (old_logprobs - rollout_logprobs).detach()
    weight = gap.clamp(max=MAX_LOG_RATIO).exp()
    metrics.mean("engine/logprob_gap_mean", gap.abs())
    metrics.max("engine/logprob_gap_max", gap.abs())
    metrics.mean("engine/weight_mean", weight)
    metrics.max("engine/weight_max", weight)
    metrics.effective_share("engine/weight_effective_share", weight)
    metrics.mean("engine/weight_touched_share", touched)
    answers = torch.bincount(sequence_ids)
    totals = gap.new_zeros(len(answers)).index_add(0, sequence_ids, gap)[answers > 0]
    metrics.mean("engine/sequence_gap_mean", totals.abs())
    metrics.max("engine/sequence_gap_max", totals.abs())
    bucket = torch.bucketize(sequence_lengths(sequence_ids), torch.tensor(LENGTH_BUCKETS, device=gap.device))
    names = [f"upto_{end}" for end in LENGTH_BUCKETS] + [f"above_{LENGTH_BUCKETS[-1]}"]
    for number in torch.bincount(bucket).nonzero()[:, 0].tolist():
        metrics.mean(f"engine/logprob_gap_{names[number]}", gap.abs()[bucket == number])

"""Divergences between policies, estimated per token from samples, and the coefficient that weighs them.

As a loss their gradients differ: k1's has zero mean, k2's is the unbiased gradient of KL(policy || reference) on the
policy's own samples, k3's is that of the opposite divergence. (Schulman, "Approximating KL Divergence", 2020.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from torch import Tensor

from lightrft_core.ratios import MAX_LOG_RATIO, bounded_exp


class KLPlacement(StrEnum):
    """Where the divergence from the reference model enters."""

    LOSS = "loss"
    """A term of the loss."""
    REWARD = "reward"
    """Taken from the reward of every token (Stiennon et al. 2020; PPO for RLHF, REINFORCE++)."""
    SEQUENCE_REWARD = "sequence-reward"
    """Summed over the answer and taken from its reward before the baseline (RLOO, arXiv 2402.14740)."""


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """d = log pi - log ref. [tokens]"""
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """d^2 / 2. [tokens]"""
    return (logprobs - reference_logprobs).square() / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """exp(-d) - 1 + d, never negative. [tokens] Below d = -20 the exponential goes on as its tangent."""
    difference = logprobs - reference_logprobs
    bounded = (-difference).clamp(max=MAX_LOG_RATIO)
    return bounded.expm1() + bounded.exp() * (-difference - bounded) + difference


KL_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def with_unbiased_gradient(value: Tensor, logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """An estimate's value with the gradient of k2: that of KL(policy || reference), unbiased on-policy. [tokens]"""
    exact = k2(logprobs, reference_logprobs)
    return value.detach() + exact - exact.detach()


def drift(logprobs: Tensor, old_logprobs: Tensor, bound: float) -> Tensor:
    """CPGD's policy drift KL(pi_old || pi), estimated by r - 1 - ln r on samples of pi_old (arXiv 2505.12504). [tokens]

    Its gradient, (r - 1) per log pi, grows with r without end; the factor is held at `bound` from above.
    """
    value = k3(old_logprobs, logprobs.detach())
    slope = (bounded_exp(logprobs.detach() - old_logprobs) - 1).clamp(max=bound)
    return value + slope * (logprobs - logprobs.detach())


@dataclass(frozen=True)
class AdaptiveKL:
    """Steer the divergence towards a target (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

    target: wanted divergence in nats per token. horizon: samples in which the coefficient may change by a fifth.
    """

    target: float
    horizon: float = 10000.0

    def update(self, coefficient: float, measured: float, samples: float) -> float:
        """The next coefficient, after a step of so many samples; measured: the divergence itself, not the loss.

        A step changes it by a fifth at most, however many samples it had, and not at all if none were measured.
        """
        if not isfinite(measured):
            return coefficient
        error = min(max(measured / self.target - 1, -0.2), 0.2)
        return coefficient * (1 + error * min(samples / self.horizon, 1.0))

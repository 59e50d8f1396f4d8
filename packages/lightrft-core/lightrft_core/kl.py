"""Estimators of KL(policy || reference) per token, from samples of the policy (Schulman, "Approximating KL", 2020).

As a loss their gradients differ: k1's has zero mean, k2's is the unbiased gradient of this divergence on-policy,
k3's is that of the opposite divergence.
"""

from __future__ import annotations

from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Beyond this log-ratio k3 goes on as its tangent: finite, and still pulling towards the reference, where a clamp would
leave a gradient of zero or even of the wrong sign."""


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """d = log pi - log ref. [tokens]"""
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """d^2 / 2. [tokens]"""
    return (logprobs - reference_logprobs).square() / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """exp(-d) - 1 + d, never negative. [tokens]"""
    difference = logprobs - reference_logprobs
    bounded = (-difference).clamp(max=MAX_LOG_RATIO)
    return bounded.expm1() + bounded.exp() * (-difference - bounded) + difference


KL_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}

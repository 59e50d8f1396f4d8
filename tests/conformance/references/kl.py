"""Estimators of KL(pi, pi_ref) per token, d = logp - logp_ref on samples of pi (Schulman 2020, "Approximating KL").

As losses their gradients differ: k1's has zero mean, k2's is that of the reverse KL on-policy, k3's that of the forward
KL. Numbers may be complex (number.py).
"""

from __future__ import annotations

from .number import exp


def k1(logp: complex, reference: float) -> complex:
    """d: unbiased, of either sign."""
    return logp - reference


def k2(logp: complex, reference: float) -> complex:
    """d^2 / 2: biased, never negative."""
    d = logp - reference
    return d * d / 2


def k3(logp: complex, reference: float) -> complex:
    """pi_ref / pi - 1 - log(pi_ref / pi) = exp(-d) - 1 + d: unbiased, never negative (GRPO, 2402.03300 eq. 4)."""
    d = logp - reference
    return exp(-d) - 1 + d


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def adapted_coefficient(beta: float, kl: float, *, target: float, count: int, horizon: float) -> float:
    """beta (1 + clip(kl / target - 1, -.2, .2) count / horizon) (Ziegler et al. 2019, 1909.08593).

    `kl` is the divergence measured, not the value of a loss; `count` the answers since the last update.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return beta * (1.0 + error * count / horizon)

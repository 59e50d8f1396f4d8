"""How sure two scores make a judge that one answer is better."""

from __future__ import annotations

from math import exp, fsum, pi, sqrt

REACH, POINTS = 8.0, 129
"""How many standard deviations the sum over a Gaussian reaches to either side, and in how many points."""

_POINTS = [REACH * (2 * i / (POINTS - 1) - 1) for i in range(POINTS)]
_WEIGHTS = [exp(-z * z / 2) / sqrt(2 * pi) * 2 * REACH / (POINTS - 1) for z in _POINTS]


def preference_probability(margin: float, variance: float = 0.0) -> float:
    """That the answer whose score is `margin` above the other's is better: sigmoid(margin) (Bradley and Terry 1952).

    variance: of the margin, where scores are Gaussian: the mean of sigmoid over it (HPSv3, Ma et al. 2025, arXiv
    2508.03789, section 3.2), by the trapezoidal rule.
    """
    if variance <= 0:
        return sigmoid(margin)
    spread = sqrt(variance)
    return min(1.0, fsum(weight * sigmoid(margin + spread * z) for z, weight in zip(_POINTS, _WEIGHTS, strict=True)))


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), of any size of x."""
    small = exp(-abs(x))
    return (1.0 if x >= 0 else small) / (1 + small)

"""Arithmetic that carries a derivative: f(x + 1e-30 i) has f(x) as real part and 1e-30 f'(x) as imaginary part.

(The complex step: Squire and Trapp 1998, SIAM Review 40.) The step is so small that nothing of it reaches the real part
and nothing cancels, so the derivative is exact to the last bits. Comparisons look at real parts only, and a
stop-gradient drops the imaginary part.
"""

from __future__ import annotations

import cmath

STEP = 1e-30

exp = cmath.exp


def mean(numbers: list[complex]) -> complex:
    return sum(numbers, 0j) / len(numbers)


def smaller(a: complex, b: complex) -> complex:
    return a if a.real <= b.real else b


def larger(a: complex, b: complex) -> complex:
    return a if a.real >= b.real else b


def clip(x: complex, low: float, high: float) -> complex:
    """x held to [low, high]: itself inside (its derivative with it), the constant bound outside."""
    if x.real < low:
        return complex(low)
    if x.real > high:
        return complex(high)
    return x


def stopped(x: complex) -> float:
    """sg[x]: the value alone."""
    return x.real

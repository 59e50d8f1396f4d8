"""Two models on the same problems: whether one is better, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np

from lightrft_core.evaluation import Estimate


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p-value of McNemar's test (McNemar 1947): of the problems that one of two models alone
    solves, each would be either's with chance 1/2. 1 without any such problem."""
    trials, fewer = wins + losses, min(wins, losses)
    return min(1.0, float(2 * sum(comb(trials, i) for i in range(fewer + 1)) / 2**trials))


def sign_flip(differences: Sequence[int]) -> float:
    """The exact two-sided p-value of the paired permutation test (Fisher 1935, section 21): how often the sum of the
    differences, each with its sign or the other one at random, is as far from 0 as it is.

    differences: [problems] whole numbers, such as how many more of n answers are right by one model. Of 1, 0 and -1 it
    is McNemar's test. The sum's law is built up problem by problem, in float64, and nothing is drawn.
    """
    sizes = [abs(difference) for difference in differences if difference]
    law, reach = np.ones(1), 0
    for size in sizes:
        wider = np.zeros(2 * (reach + size) + 1)
        wider[: law.size] += law / 2
        wider[2 * size :] += law / 2
        law, reach = wider, reach + size
    seen = abs(sum(differences))
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(law[sums >= seen].sum()))


def difference_interval(
    first: Sequence[float], second: Sequence[float], estimates: tuple[Estimate, Estimate]
) -> tuple[float, float]:
    """A 95% interval of the mean of first - second, from the two means' own (Newcombe 1998, Stat. Med. 17, 2635, method
    8, which squares and adds; for any two estimates: Zou and Donner 2008, Stat. Med. 27, 1693).

    first, second: [problems] shares, which are correlated because problems are more or less hard for both.
    estimates: of their means, with intervals. It lies within -1 and 1.
    """
    (a, b), together = estimates, _correlation(first, second)
    below, above = (
        (a.value - a.interval[0], b.interval[1] - b.value),
        (a.interval[1] - a.value, b.value - b.interval[0]),
    )
    low, high = (sqrt(max(0.0, x * x + y * y - 2 * together * x * y)) for x, y in (below, above))
    value = a.value - b.value
    return max(-1.0, value - low), min(1.0, value + high)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for there being several (Holm 1979): one below 0.05 then stands with an error of 5% in the
    whole family."""
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's; 0 where one of them does not vary."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (first, second))
    x, y = x - x.mean(), y - y.mean()
    spread = sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread else 0.0

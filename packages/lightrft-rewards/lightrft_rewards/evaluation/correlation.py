"""Correlations, each None where there is none: of fewer than two pairs of numbers, or with one side constant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, groupby
from math import fsum, sqrt


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's r of paired numbers."""
    if len(x) < 2:
        return None
    return cosine(_centred(x), _centred(y))


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rho: Pearson's r of the ranks, equal numbers sharing their mean rank."""
    return pearson(ranks(x), ranks(y))


def kendall(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b (1945): (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y)."""
    balance = untied_x = untied_y = 0
    for i, j in combinations(range(len(x)), 2):
        sign_x, sign_y = (x[i] > x[j]) - (x[i] < x[j]), (y[i] > y[j]) - (y[i] < y[j])
        balance += sign_x * sign_y
        untied_x += abs(sign_x)
        untied_y += abs(sign_y)
    return balance / sqrt(untied_x * untied_y) if untied_x and untied_y else None


def cosine(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's r of numbers whose means are known to be 0."""
    largest_x, largest_y = max(map(abs, x), default=0.0), max(map(abs, y), default=0.0)
    if not largest_x or not largest_y:
        return None
    x, y = [number / largest_x for number in x], [number / largest_y for number in y]
    norm = sqrt(fsum(number * number for number in x)) * sqrt(fsum(number * number for number in y))
    return max(-1.0, min(1.0, fsum(a * b for a, b in zip(x, y, strict=True)) / norm))


def ranks(numbers: Sequence[float]) -> list[float]:
    """Their places in ascending order from 1 on; equal numbers share the mean of theirs."""
    found = [0.0] * len(numbers)
    done = 0
    for _, group in groupby(sorted(range(len(numbers)), key=numbers.__getitem__), key=numbers.__getitem__):
        places = list(group)
        for place in places:
            found[place] = done + (len(places) + 1) / 2
        done += len(places)
    return found


def _centred(numbers: Sequence[float]) -> list[float]:
    if min(numbers) == max(numbers):
        return [0.0] * len(numbers)
    mean = fsum(numbers) / len(numbers)
    return [number - mean for number in numbers]

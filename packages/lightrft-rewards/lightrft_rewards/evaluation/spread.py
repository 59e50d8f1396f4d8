"""How numbers are spread: quantiles and a histogram."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, fsum, sqrt

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BARS = 24


@dataclass(frozen=True)
class Spread:
    """deviation: standard, of the numbers themselves (divided by n). quantiles: share -> number, linear in between.
    edges, counts: a histogram; each bar holds its left edge, the last one its right edge too."""

    n: int
    mean: float
    deviation: float
    quantiles: dict[str, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def spread_of(numbers: Sequence[float], bars: int = BARS) -> Spread | None:
    """None of no numbers."""
    if not numbers:
        return None
    ordered, n = sorted(numbers), len(numbers)
    mean = fsum(ordered) / n
    low, high = ordered[0], ordered[-1]
    if high == low:
        low, high = low - 0.5, high + 0.5
    edges = [*(low + (high - low) * i / bars for i in range(bars)), high]
    counts = [0] * bars
    for number in ordered:
        counts[min(bisect_right(edges, number), bars) - 1] += 1
    return Spread(
        n,
        mean,
        sqrt(fsum((number - mean) ** 2 for number in ordered) / n),
        {f"{share:g}": _quantile(ordered, share) for share in QUANTILES},
        tuple(edges),
        tuple(counts),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])

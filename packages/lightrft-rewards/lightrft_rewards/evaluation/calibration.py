"""Whether a judge is right as often as it believes to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, log

from lightrft_rewards.evaluation.judged import JudgedComparison, Pair, decided_pairs

BINS = 10
LEAST_PROBABILITY = 1e-12
"""What the logarithm of the log loss is bounded by."""


@dataclass(frozen=True)
class Bin:
    """Pairs of similar confidence: from low to high. weight: how much of all pairs; confidence, accuracy: their means,
    None of an empty bin."""

    low: float
    high: float
    weight: float
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Of the probability the judge gives to its own choice among two answers (confidence, 1/2 to 1).

    error: expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3), the mean over pairs of |accuracy -
    confidence| of their bin; a score tie is half right. log_loss (nats), brier: of the probability of the better
    answer; a judge that always says 1/2 has 0.693 and 0.25. over_confidence: mean confidence - accuracy.
    """

    error: float
    over_confidence: float
    log_loss: float
    brier: float
    bins: tuple[Bin, ...]


def calibration(judged: Sequence[JudgedComparison], bins: int = BINS) -> Calibration | None:
    """Of the pairs people found unequal, each comparison weighing the same; None where a generative judge, which gives
    no probability, was asked, or nothing was judged."""
    if any(comparison.askings for comparison in judged):
        return None
    pairs = [pair for comparison in judged for pair in decided_pairs(comparison)]
    if not pairs:
        return None
    total = fsum(pair.weight for pair in pairs)
    table = reliability(pairs, bins)
    gaps = [(b.weight, b.confidence - b.accuracy) for b in table if b.confidence is not None and b.accuracy is not None]
    return Calibration(
        error=fsum(weight * abs(gap) for weight, gap in gaps),
        over_confidence=fsum(weight * gap for weight, gap in gaps),
        log_loss=fsum(-pair.weight * log(max(pair.probability, LEAST_PROBABILITY)) for pair in pairs) / total,
        brier=fsum(pair.weight * (1 - pair.probability) ** 2 for pair in pairs) / total,
        bins=table,
    )


def reliability(pairs: Sequence[Pair], bins: int) -> tuple[Bin, ...]:
    """Pairs by the judge's confidence, in bins of equal width between 1/2 and 1; the last one holds 1."""
    members: list[list[Pair]] = [[] for _ in range(bins)]
    for pair in pairs:
        members[min(int((_confidence(pair) - 0.5) * 2 * bins), bins - 1)].append(pair)
    total = fsum(pair.weight for pair in pairs)
    width = 0.5 / bins
    return tuple(_bin(0.5 + i * width, 0.5 + (i + 1) * width, part, total) for i, part in enumerate(members))


def _bin(low: float, high: float, pairs: Sequence[Pair], total: float) -> Bin:
    if not pairs:
        return Bin(low, high, 0.0, None, None)
    weight = fsum(pair.weight for pair in pairs)
    confidence = fsum(pair.weight * _confidence(pair) for pair in pairs) / weight
    return Bin(low, high, weight / total, confidence, fsum(pair.weight * pair.right for pair in pairs) / weight)


def _confidence(pair: Pair) -> float:
    return max(pair.probability, 1 - pair.probability)

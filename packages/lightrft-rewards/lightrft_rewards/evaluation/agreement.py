"""How often a judge prefers what people prefer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import accumulate
from math import fsum

from lightrft_rewards.evaluation.judged import JudgedComparison, Pair, all_pairs, decided_pairs, decided_places
from lightrft_rewards.evaluation.shares import Share, share_of

NEARLY = 1e-9
"""What sums of weights that ought to be equal may differ by."""


@dataclass(frozen=True)
class Agreement:
    """accuracy: share of the pairs people found unequal whose better answer is scored strictly higher.

    Each comparison with such a pair is one trial, whatever the number of its pairs; one that could not be judged counts
    as wrong. half_for_ties: the same with a score tie taken as half right. auc: see area.
    pairs: that people found unequal, of the comparisons that were judged; score_ties: of them, those scored the same.
    """

    accuracy: Share | None
    half_for_ties: Share | None
    auc: float | None
    pairs: int
    score_ties: int


@dataclass(frozen=True)
class ThreeWay:
    """accuracy: share of all pairs, label ties among them, of which the judge says rightly which is better, or neither.

    It says neither where the scores differ by no more than a threshold; trials are counted as in Agreement.
    pairs: of the comparisons that were judged; label_ties: of them, those people found equal. thresholds: the one that
    was given, or two, each the best on one half of the comparisons and used on the other half.
    """

    accuracy: Share | None
    pairs: int
    label_ties: int
    thresholds: tuple[float, ...]


def agreement(judged: Sequence[JudgedComparison]) -> Agreement:
    """Of comparisons in one head."""
    contests = [pairs for comparison in judged if (pairs := decided_pairs(comparison))]
    failed = [0.0 for comparison in judged if comparison.error and decided_places(comparison)]
    pairs = [pair for contest in contests for pair in contest]
    return Agreement(
        accuracy=share_of([_credit(contest, lambda pair: float(pair.margin > 0)) for contest in contests] + failed),
        half_for_ties=share_of([_credit(contest, lambda pair: pair.right) for contest in contests] + failed),
        auc=area(pairs),
        pairs=len(pairs),
        score_ties=sum(pair.margin == 0 for pair in pairs),
    )


def area(pairs: Sequence[Pair]) -> float | None:
    """Area under the ROC curve of telling by the margin whether the first of two answers is the better one.

    Each pair is taken both ways round, so that it does not matter which answer stood first: it is the probability that
    a margin seen from a better answer exceeds one seen from a worse answer, P(m_i > -m_j), a tie counting half (Hanley
    and McNeil 1982), pairs drawn by weight. None without pairs.
    """
    if not pairs:
        return None
    ordered = sorted(pairs, key=lambda pair: pair.margin)
    margins = [pair.margin for pair in ordered]
    before = [0.0, *accumulate(pair.weight for pair in ordered)]
    total = before[-1]
    lost = fsum(
        pair.weight * (before[bisect_left(margins, -pair.margin)] + before[bisect_right(margins, -pair.margin)]) / 2
        for pair in ordered
    )
    return 1 - lost / (total * total)


def three_way(judged: Sequence[JudgedComparison], threshold: float | None = None) -> ThreeWay:
    """Of comparisons in one head; what could not be judged counts as wrong.

    threshold: None: each half of the comparisons is judged by the threshold that is best on the other half. They are
    halved by a digest of their uid, so that it stays in its half when others come and go.
    """
    contests: tuple[list[list[Pair]], list[list[Pair]]] = ([], [])
    for comparison in judged:
        if pairs := all_pairs(comparison):
            contests[_half(comparison.uid)].append(pairs)
    halves = [[pair for contest in half for pair in contest] for half in contests]
    limits = [best_threshold(halves[1 - i] or halves[i]) if threshold is None else threshold for i in (0, 1)]
    credits = [
        _credit(contest, partial(_rightly, threshold=limit))
        for half, limit in zip(contests, limits, strict=True)
        for contest in half
    ]
    failed = [0.0 for comparison in judged if comparison.error and len(comparison.labels) > 1]
    return ThreeWay(
        accuracy=share_of(credits + failed),
        pairs=sum(map(len, halves)),
        label_ties=sum(pair.tie for half in halves for pair in half),
        thresholds=(threshold,) if threshold is not None else tuple(limits),
    )


def best_threshold(pairs: Sequence[Pair]) -> float:
    """The smallest threshold for calling a pair a tie by which most pairs, by weight, are told rightly.

    It is 0 or lies halfway between two margins.
    """
    ordered = sorted(pairs, key=lambda pair: abs(pair.margin))
    sizes = [abs(pair.margin) for pair in ordered]
    gain = best = threshold = 0.0
    for i, (pair, size) in enumerate(zip(ordered, sizes, strict=True)):
        gain += pair.weight * (_rightly(pair, size) - _rightly(pair, 0.0))
        following = sizes[i + 1] if i + 1 < len(sizes) else None
        if size != following and gain > best + NEARLY:
            best, threshold = gain, size if following is None else size + (following - size) / 2
    return threshold


def _rightly(pair: Pair, threshold: float) -> float:
    return float(abs(pair.margin) <= threshold if pair.tie else pair.margin > threshold)


def _credit(contest: Sequence[Pair], of: Callable[[Pair], float]) -> float:
    return min(1.0, fsum(pair.weight * of(pair) for pair in contest))


def _half(uid: str) -> int:
    return sha256(uid.encode("utf-8", "surrogatepass")).digest()[0] % 2

"""Whether a judge likes answers for being long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightrft_rewards.evaluation.correlation import cosine, spearman
from lightrft_rewards.evaluation.judged import JudgedComparison, Pair, decided_pairs
from lightrft_rewards.evaluation.shares import Share, share_of


@dataclass(frozen=True)
class LengthBias:
    """Pairs that people found unequal; here each pair is a trial, and lengths are in characters.

    accuracy_shorter, accuracy_longer, accuracy_equal: where the better answer is the shorter one, the longer one, or as
    long. chooses_longer: of pairs of unequal length that are not scored the same, the share whose longer answer the
    judge scores higher; people_choose_longer: of the same pairs, those whose longer answer is the better one.
    margin_correlation: of the difference of two scores with that of the lengths, each pair taken both ways round.
    score_correlation: Spearman's, of score and length, over all answers.
    """

    accuracy_shorter: Share | None
    accuracy_longer: Share | None
    accuracy_equal: Share | None
    chooses_longer: Share | None
    people_choose_longer: Share | None
    margin_correlation: float | None
    score_correlation: float | None


def length_bias(judged: Sequence[JudgedComparison]) -> LengthBias | None:
    """Of comparisons in one head; None where no lengths are known, as of pictures and sounds."""
    judged = [comparison for comparison in judged if comparison.lengths and not comparison.error]
    pairs = [
        (pair, pair.longer) for comparison in judged for pair in decided_pairs(comparison) if pair.longer is not None
    ]
    if not pairs:
        return None
    shorter = [pair for pair, longer in pairs if longer < 0]
    longer = [pair for pair, longer in pairs if longer > 0]
    chosen = [(pair, longer) for pair, longer in pairs if longer and pair.margin]
    answers = [pair for comparison in judged for pair in zip(comparison.scores, comparison.lengths, strict=True)]
    return LengthBias(
        _accuracy(shorter),
        _accuracy(longer),
        _accuracy([pair for pair, longer in pairs if longer == 0]),
        share_of([float((pair.margin > 0) == (longer > 0)) for pair, longer in chosen]),
        share_of([float(longer > 0) for _, longer in chosen]),
        cosine([pair.margin for pair, _ in pairs], [longer for _, longer in pairs]),
        spearman([score for score, _ in answers], [length for _, length in answers]),
    )


def _accuracy(pairs: Sequence[Pair]) -> Share | None:
    return share_of([float(pair.margin > 0) for pair in pairs])

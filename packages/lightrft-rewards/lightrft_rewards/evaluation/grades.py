"""How well scores follow what people said of several answers, or of single ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from lightrft_rewards.evaluation.correlation import kendall, pearson, spearman
from lightrft_rewards.evaluation.judged import JudgedComparison
from lightrft_rewards.evaluation.shares import Share, share_of

LABELS_OF_PREFERENCE = 3
"""With no more different labels, they say better, worse or equal; with more, they are taken for grades."""


@dataclass(frozen=True)
class Ranking:
    """Of comparisons of three answers or more. best_found: share of them whose best answer, or one of the best, the
    judge scores highest (of several scored the same, the share that is). kendall: mean tau-b of labels and scores."""

    comparisons: int
    best_found: Share | None
    kendall: float | None


@dataclass(frozen=True)
class Grading:
    """Labels and scores of answers, as numbers. mean_error: of |score - label|, which says something where the
    judge learnt the labels themselves (regression)."""

    answers: int
    pearson: float | None
    spearman: float | None
    mean_error: float


def ranking(judged: Sequence[JudgedComparison]) -> Ranking | None:
    """Of comparisons in one head; one that could not be judged has not found the best. None where none has three
    answers whose labels differ."""
    several = [comparison for comparison in judged if len(comparison.labels) > 2 and len(set(comparison.labels)) > 1]
    if not several:
        return None
    taus = [kendall(comparison.labels, comparison.scores) for comparison in several if comparison.scores]
    known = [tau for tau in taus if tau is not None]
    best = share_of([_best_found(comparison) for comparison in several])
    return Ranking(len(several), best, fsum(known) / len(known) if known else None)


def grading(judged: Sequence[JudgedComparison]) -> Grading | None:
    """Of comparisons in one head: of those of a single answer, or without any of them of all. None where labels merely
    say which answer is better."""
    single = [comparison for comparison in judged if len(comparison.labels) == 1]
    if not single and len({label for comparison in judged for label in comparison.labels}) <= LABELS_OF_PREFERENCE:
        return None
    answers = [
        pair
        for comparison in single or judged
        if comparison.scores
        for pair in zip(comparison.labels, comparison.scores, strict=True)
    ]
    if not answers:
        return None
    labels, scores = [label for label, _ in answers], [score for _, score in answers]
    error = fsum(abs(score - label) for label, score in answers) / len(answers)
    return Grading(len(answers), pearson(labels, scores), spearman(labels, scores), error)


def _best_found(comparison: JudgedComparison) -> float:
    if comparison.error:
        return 0.0
    highest, best = max(comparison.scores), max(comparison.labels)
    chosen = [label for label, score in zip(comparison.labels, comparison.scores, strict=True) if score == highest]
    return chosen.count(best) / len(chosen)

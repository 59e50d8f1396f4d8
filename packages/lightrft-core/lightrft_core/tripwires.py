"""Signs that a reward pays for something else than what was meant, measured on a step's judged answers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, correlation, fmean

from lightrft_core.types import Group, Rollout

FEWEST_ANSWERS = 32
"""Below these a correlation says little: of so many independent pairs, fewer than one step in 100,000 passes 0.7."""


def length_correlation(groups: Sequence[Group]) -> float | None:
    """Pearson's correlation of score and length in tokens, each less its mean over the prompt's judged answers: what
    training sees, which compares answers to one prompt. Prompts that need long answers and are hard do not count.

    None with fewer than FEWEST_ANSWERS answers in groups of two or more, or where scores or lengths never differ.
    """
    scores, lengths = list[float](), list[float]()
    for known in map(_scored, groups):
        if len(known) > 1:
            scores += _centred([score for _, score in known])
            lengths += _centred([float(len(rollout.token_ids)) for rollout, _ in known])
    if len(scores) < FEWEST_ANSWERS:
        return None
    try:
        return correlation(lengths, scores)
    except StatisticsError:
        return None


def unearned(groups: Sequence[Group]) -> list[bool]:
    """Of each answer that training favours, scoring above 0 and above its prompt's mean: whether its accuracy is 0, so
    that it wins by form, length or another part of the reward alone."""
    wins = list[bool]()
    for known in map(_scored, groups):
        bar = max(0.0, fmean(score for _, score in known)) if known else 0.0
        wins += [rollout.verdict.accuracy == 0 for rollout, score in known if score > bar and rollout.verdict]
    return wins


def _scored(group: Group) -> list[tuple[Rollout, float]]:
    """The answers whose judging gave a score, and it."""
    judged = [(rollout, rollout.verdict.score) for rollout in group.rollouts if rollout.verdict]
    return [(rollout, score) for rollout, score in judged if score is not None]


def _centred(values: Sequence[float]) -> list[float]:
    mean = fmean(values)
    return [value - mean for value in values]

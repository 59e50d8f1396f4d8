"""What a comparison's answers tell of themselves, whoever judges them."""

from __future__ import annotations

from lightrft_rewards.evaluation import declines
from lightrft_rewards.preferences import Answer, Comparison

SAFE = "safe"
"""The label that is above 0 for an answer that people call safe."""


def shown(answer: Answer) -> str:
    """An answer's text, with a word for what is none."""
    return "".join(piece if isinstance(piece, str) else f"[{piece.modality}]" for piece in answer)


def lengths_of(comparison: Comparison) -> tuple[int, ...]:
    """Characters of each answer; none unless all are text."""
    return tuple(map(len, _texts(comparison)))


def refusals_of(comparison: Comparison) -> tuple[bool, ...]:
    """Whether each answer declines to answer; none unless all are text."""
    return tuple(map(declines, _texts(comparison)))


def safe_of(comparison: Comparison) -> tuple[bool, ...]:
    """Whether people call each answer safe; none where they were not asked."""
    return tuple(number > 0 for number in comparison.labels.get(SAFE, ()))


def _texts(comparison: Comparison) -> list[str]:
    written = all(isinstance(piece, str) for answer in comparison.answers for piece in answer)
    return [shown(answer) for answer in comparison.answers] if written else []

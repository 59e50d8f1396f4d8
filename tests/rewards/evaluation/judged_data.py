"""Judged comparisons by chance, for properties that must hold of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from lightrft_rewards.evaluation import JudgedComparison

few_scores = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
"""Few enough to be equal often, and such that their differences are exact."""


@st.composite
def judged_comparison(draw: Any, number: int, answers: st.SearchStrategy[int]) -> JudgedComparison:
    n = draw(answers)
    labels = tuple(float(draw(st.integers(0, 2))) for _ in range(n))
    lengths = tuple(draw(st.integers(0, 4)) for _ in range(n))
    if draw(st.integers(0, 9)) == 0:
        return JudgedComparison(f"row:{number}", "score", labels, error="it broke", lengths=lengths)
    scores = tuple(draw(few_scores) for _ in range(n))
    return JudgedComparison(f"row:{number}", "score", labels, scores, lengths=lengths)


@st.composite
def judgements(draw: Any, most: int = 8, answers: st.SearchStrategy[int] | None = None) -> Sequence[JudgedComparison]:
    count = draw(st.integers(0, most))
    return [draw(judged_comparison(i, st.integers(1, 4) if answers is None else answers)) for i in range(count)]


def pair(better: float, worse: float, *, uid: str = "row", **more: Any) -> JudgedComparison:
    """Two answers of which people prefer the first, scored so."""
    return JudgedComparison(uid, "score", (1.0, 0.0), (better, worse), **more)


def tie(first: float, second: float, *, uid: str = "row") -> JudgedComparison:
    """Two answers that people find equal, scored so."""
    return JudgedComparison(uid, "score", (1.0, 1.0), (first, second))

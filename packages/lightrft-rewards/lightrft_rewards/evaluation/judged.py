"""Comparisons after a judge has been at them: what people said of the answers beside what the judge said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from lightrft_rewards.evaluation.probability import preference_probability


@dataclass(frozen=True)
class Asking:
    """One time that a judge was shown two answers side by side.

    first: the answer (0 or 1) that stood at place 1. chosen: the answer it preferred, None for a tie. error: why there
    is no judgement; "" if there is one.
    """

    first: int
    chosen: int | None = None
    error: str = ""


@dataclass(frozen=True)
class JudgedComparison:
    """Answers to one question as people and a judge see them, in one head (in one thing that is judged).

    labels: what people said, one number for each answer: of two the greater is better, equal numbers are a tie.
    scores: what the judge said, likewise; empty if it failed, and then error says why.
    variances: of the scores, where the judge states how sure it is of each. temperature: what differences of scores are
    divided by to be log-odds. lengths: of the answers, in characters.
    refuses: whether an answer declines to answer. safe: whether people call it safe.
    askings: what a generative judge said each time it was asked; its scores are how often each answer was preferred, a
        tie counting half.
    """

    uid: str
    head: str
    labels: tuple[float, ...]
    scores: tuple[float, ...] = ()
    source: str = ""
    variances: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    refuses: tuple[bool, ...] = ()
    safe: tuple[bool, ...] = ()
    askings: tuple[Asking, ...] = ()
    temperature: float = 1.0
    error: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError if numbers of answers differ, a score is missing without an error, or one is not finite."""
        if bool(self.error) == bool(self.scores):
            raise ValueError(f"{self.uid}: either scores or an error, not {self.scores} and {self.error!r}")
        for name in ("scores", "variances", "lengths", "refuses", "safe"):
            there = len(getattr(self, name))
            if there not in (0, len(self.labels)):
                raise ValueError(f"{self.uid}: {there} {name} for {len(self.labels)} answers")
        if self.askings and len(self.labels) != 2:
            raise ValueError(f"{self.uid}: askings are of two answers, not of {len(self.labels)}")
        if not all(map(math.isfinite, (*self.labels, *self.scores, *self.variances))):
            raise ValueError(f"{self.uid}: labels, scores and variances must be finite")


@dataclass(frozen=True)
class Pair:
    """Two answers of one comparison.

    better, worse: their places; of a label tie, the earlier and the later. margin: how much higher the better one is
    scored; variance: of that, 0 where none is stated. weight: 1 / how many pairs are looked at of the comparison.
    longer: characters the better one has more than the worse one; None where lengths are unknown. temperature: as of a
    JudgedComparison.
    """

    better: int
    worse: int
    tie: bool
    margin: float
    variance: float
    weight: float
    longer: int | None
    temperature: float = 1.0

    @cached_property
    def probability(self) -> float:
        """The judge's, that the better one is better."""
        return preference_probability(self.margin / self.temperature, self.variance / self.temperature**2)

    @property
    def right(self) -> float:
        """1 if the better one is scored higher, 1/2 if both are scored the same, else 0."""
        return 1.0 if self.margin > 0 else 0.5 if self.margin == 0 else 0.0


def all_pairs(comparison: JudgedComparison) -> list[Pair]:
    """Every two answers, label ties among them; none if it could not be judged."""
    return _pairs(comparison, _places(comparison))


def decided_pairs(comparison: JudgedComparison) -> list[Pair]:
    """Every two answers that people found unequal; none if it could not be judged."""
    return _pairs(comparison, decided_places(comparison))


def decided_places(comparison: JudgedComparison) -> list[tuple[int, int]]:
    """The (better, worse) places that people found unequal."""
    labels = comparison.labels
    return [(better, worse) for better, worse in _places(comparison) if labels[better] > labels[worse]]


def _places(comparison: JudgedComparison) -> list[tuple[int, int]]:
    labels = comparison.labels
    return [(j, i) if labels[j] > labels[i] else (i, j) for i, j in combinations(range(len(labels)), 2)]


def _pairs(comparison: JudgedComparison, places: list[tuple[int, int]]) -> list[Pair]:
    labels, scores, lengths = comparison.labels, comparison.scores, comparison.lengths
    return [
        Pair(
            better,
            worse,
            tie=labels[better] == labels[worse],
            margin=scores[better] - scores[worse],
            variance=comparison.variances[better] + comparison.variances[worse] if comparison.variances else 0.0,
            weight=1 / len(places),
            longer=lengths[better] - lengths[worse] if lengths else None,
            temperature=comparison.temperature,
        )
        for better, worse in (places if scores else [])
    ]

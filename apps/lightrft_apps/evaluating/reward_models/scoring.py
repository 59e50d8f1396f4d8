"""From comparisons to what a scalar reward model says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

from lightrft_apps.config import ConfigError
from lightrft_apps.evaluating.reward_models.answers import lengths_of, refusals_of, safe_of
from lightrft_rewards.evaluation import JudgedComparison
from lightrft_rewards.models.passage import Passage
from lightrft_rewards.models.scoring import ModelScorer, Reading
from lightrft_rewards.preferences import Comparison
from lightrft_strategy.data.rejected import RowError

TOGETHER = 256
"""Comparisons that are written, sorted by length and read at a time."""


def heads_by_label(
    heads: Sequence[str], labels: Sequence[str], wanted: Mapping[str, str | None] | None, model: str
) -> dict[str, str]:
    """label -> the model's head that is compared with it: the one of that name, or the only one there is.

    wanted: labels -> heads, None for the one that fits; None: all labels that fit. Raises ConfigError if one that is
    wanted does not, or none does.
    """
    only = heads[0] if len(heads) == 1 else ""
    asked = dict.fromkeys(labels) if wanted is None else wanted
    fitting = {label: head or (label if label in heads else only) for label, head in asked.items()}
    problems = [f"no row has the label {label}: there are {_listed(labels)}" for label in asked if label not in labels]
    if wanted is None:
        fitting = {label: head for label, head in fitting.items() if head}
        problems += [] if fitting else [f"it has the heads {_listed(heads)}, and the labels are {_listed(labels)}"]
    else:
        missing = (head or label for label, head in fitting.items() if head not in heads)
        problems += [f"it has no head {name}: it has {_listed(heads)}" for name in missing]
    if problems:
        raise ConfigError([f"the reward model {model}: {problem}; set --heads LABEL=HEAD" for problem in problems])
    return fitting


def judged_by(
    scorer: ModelScorer, comparisons: Sequence[Comparison], heads: Mapping[str, str], advance: Callable[[int], None]
) -> list[JudgedComparison]:
    """Every comparison in every head that has a label there. What cannot be written as the model reads it, or gets no
    finite score, has an error. heads: label -> head. advance: is told how many comparisons more are judged.
    """
    judged = []
    for start in range(0, len(comparisons), TOGETHER):
        part = comparisons[start : start + TOGETHER]
        for comparison, readings in zip(part, _read(scorer, part), strict=True):
            judged += [
                _judged(comparison, label, heads[label], readings, scorer.card.temperature)
                for label in comparison.labels
                if label in heads
            ]
        advance(len(part))
    return judged


def _read(scorer: ModelScorer, comparisons: Sequence[Comparison]) -> list[list[dict[str, Reading]] | str]:
    """What the model says of each comparison's answers, or why it says nothing."""
    written: list[range | str] = []
    passages: list[Passage] = []
    for comparison in comparisons:
        try:
            contest = scorer.writer.contest(comparison)
        except RowError as error:
            written.append(str(error))
            continue
        written.append(range(len(passages), len(passages) + len(contest.passages)))
        passages += contest.passages
    readings = scorer.read(passages)
    return [places if isinstance(places, str) else [readings[place] for place in places] for places in written]


def _judged(
    comparison: Comparison,
    label: str,
    head: str,
    readings: Sequence[Mapping[str, Reading]] | str,
    temperature: float,
) -> JudgedComparison:
    scores: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()
    error = readings if isinstance(readings, str) else ""
    if not isinstance(readings, str):
        said = [reading[head] for reading in readings]
        scores = tuple(reading.mean for reading in said)
        variances = tuple(reading.variance for reading in said if reading.variance is not None)
        if not all(map(isfinite, scores)):
            error, scores, variances = f"its scores are {scores}: not finite", (), ()
    return JudgedComparison(
        comparison.uid,
        label,
        comparison.labels[label],
        scores,
        comparison.source,
        variances=variances,
        lengths=lengths_of(comparison),
        refuses=refusals_of(comparison),
        safe=safe_of(comparison),
        temperature=temperature,
        error=error,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

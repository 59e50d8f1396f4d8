"""How well a step's model does on what is held out, by its metrics line."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean


def accuracies(line: Mapping[str, float]) -> dict[str, float]:
    """The shares that are right: "accuracy", or of a reward model with several heads "helpful/accuracy" and so on."""
    return _named(line, "accuracy")


def quality(line: Mapping[str, float]) -> float | None:
    """Greater is better: the accuracy, of several heads their mean; where nothing is answered or compared, the negative
    of what given answers cost, or of the squared error. None: there was no evaluation."""
    if right := accuracies(line):
        return fmean(right.values())
    errors = _named(line, "nll") | _named(line, "squared_error")
    return -fmean(errors.values()) if errors else None


def _named(line: Mapping[str, float], metric: str) -> dict[str, float]:
    """What an evaluation says of this metric, by name without eval/, head by head where there are several."""
    names = {name.removeprefix("eval/"): value for name, value in line.items() if name.startswith("eval/")}
    return {name: names[name] for name in sorted(names) if name.rpartition("/")[2] == metric}

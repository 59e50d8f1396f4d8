"""An evaluation as rows, one a model, label and source: what terminal, picture and page share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ALL = "all"
"""The source that stands for all of them."""


@dataclass(frozen=True)
class Row:
    """One model, one label, one source (ALL: all of them). measures: as JSON holds Measures."""

    model: str
    label: str
    source: str
    measures: Mapping[str, Any]

    @property
    def accuracy(self) -> Mapping[str, Any] | None:
        """{value, n, interval}, if anything could be told right or wrong."""
        found: Mapping[str, Any] | None = self.measures["agreement"]["accuracy"]
        return found


def rows_of(found: Mapping[str, Any]) -> Iterator[Row]:
    """Models and labels as they come; of each all sources together, then, if there are several, each by itself."""
    for model in found["models"]:
        for label, measures in model["measures"].items():
            yield Row(model["name"], label, ALL, measures["all"])
            if len(measures["sources"]) > 1:
                for source, part in measures["sources"].items():
                    yield Row(model["name"], label, source, part)


def share(estimate: Mapping[str, Any] | None) -> str:
    """A share with its interval and trials."""
    if not estimate:
        return "-"
    low, high = estimate["interval"]
    return f"{estimate['value']:.1%} ({low:.1%} to {high:.1%}, n = {estimate['n']})"


def percent(estimate: Mapping[str, Any] | None) -> str:
    """A share alone."""
    return f"{estimate['value']:.1%}" if estimate else "-"


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"

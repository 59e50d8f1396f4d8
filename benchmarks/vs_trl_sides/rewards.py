"""The rewards of the comparison, handed to both sides as they are."""

from __future__ import annotations

import re
from math import exp


def exact(prompts: list[str], responses: list[str], labels: list[str]) -> list[float]:
    """1 if the answer's last number is the label. Early on most groups score all 0, and teach nothing."""
    return [float(last == int(label)) for last, label in zip(map(_last, responses), labels, strict=True)]


def closeness(prompts: list[str], responses: list[str], labels: list[str]) -> list[float]:
    """exp(-distance / 20) of the answer's last number from the label: nearly every group teaches something."""
    scores = []
    for last, label in zip(map(_last, responses), labels, strict=True):
        scores.append(0.0 if last is None else exp(-min(abs(last - int(label)), 1000) / 20))
    return scores


def _last(response: str) -> int | None:
    numbers = re.findall(r"-?\d+", response)
    return int(numbers[-1][:18]) if numbers else None

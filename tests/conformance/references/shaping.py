"""What happens to rewards before there are advantages."""

from __future__ import annotations

from collections.abc import Sequence


def overlong_penalty(length: int, *, max_length: int, cache: int, factor: float = 1.0) -> float:
    """DAPO's soft punishment of long answers, to be added to the reward (2503.14476 eq. 13).

    0 up to max_length - cache tokens, then a straight line to -1 at max_length, -1 beyond; times factor. Without a
    cache the line is a step just above max_length.
    """
    start = max_length - cache
    if length <= start:
        return 0.0
    if length >= max_length:
        return -factor
    return -factor * (length - start) / cache


def majority_answer(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; of several, the one seen first. None where no answer could be read."""
    counts: dict[str, int] = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    best: str | None = None
    for answer, count in counts.items():  # in the order they were first seen
        if best is None or count > counts[best]:
            best = answer
    return best


def majority_rewards(answers: Sequence[str | None]) -> list[float]:
    """TTRL (2504.16084): 1 for an answer equal to the majority's, 0 for the others and for missing ones."""
    label = majority_answer(answers)
    return [float(answer is not None and answer == label) for answer in answers]

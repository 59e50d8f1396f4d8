"""What no comparison may be, whichever data set it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import isfinite

from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_strategy.data.parts import Medium
from lightrft_strategy.data.rejected import RowError


def checked(comparison: Comparison) -> Comparison:
    """The comparison. Raises RowError if nothing can be learnt of it: text that is not Unicode, no label or one that is
    no finite number, answers that are all empty, or the same answer twice with different labels."""
    if any(map(_broken, [comparison.uid, *_texts(comparison), comparison.criterion, comparison.reasoning])):
        raise RowError("holds text that is not valid Unicode: half of a surrogate pair")
    if not comparison.labels:
        raise RowError("has no label")
    if not all(isfinite(number) for numbers in comparison.labels.values() for number in numbers):
        raise RowError("has a label that is not a finite number")
    if all(answer == ("",) for answer in comparison.answers):
        raise RowError("has no answer that is not empty")
    for head, numbers in comparison.labels.items():
        judged = zip(map(_content, comparison.answers), numbers, strict=True)
        if any(one == other and number != another for (one, number), (other, another) in combinations(judged, 2)):
            raise RowError(f"has the same answer twice, and different labels of {head} for it")
    return comparison


def _texts(comparison: Comparison) -> Iterator[str]:
    for pieces in (*(turn.pieces for turn in comparison.asked), *comparison.answers):
        yield from (piece for piece in pieces if isinstance(piece, str))


def _content(answer: Answer) -> list[object]:
    """An answer without where it stood in its row."""
    return [piece.part if isinstance(piece, Medium) else piece for piece in answer]


def _broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False

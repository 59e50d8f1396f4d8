"""Numbers of a step beside those of a reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from core_step import Learnt
from references.case import Case
from references.rows import Row

TOLERANCE = 1e-10


def flat(nested: Any) -> list[float]:
    """Every number of nested lists in reading order; None, where judging failed, is left out."""
    return list(_numbers(nested))


def _numbers(nested: Any) -> Iterator[float]:
    if isinstance(nested, list):
        for part in nested:
            yield from _numbers(part)
    elif nested is not None:
        yield nested


def close(expected: Any) -> Any:
    """The same numbers up to TOLERANCE of the largest of them, or of 1."""
    numbers = flat(expected)
    return pytest.approx(numbers, rel=TOLERANCE, abs=TOLERANCE * max([1.0, *map(abs, numbers)]))


def assert_is_the_papers(learnt: Learnt, row: Row, case: Case) -> None:
    assert flat(learnt.advantages) == close(row.advantages(case))
    assert [learnt.loss] == close([row.loss(case)])
    assert flat(learnt.gradient) == close(row.gradient(case))
    if row.value_clip is not None:
        assert flat(learnt.returns) == close(row.returns(case))
        assert [learnt.value_loss] == close([row.value_loss(case)])
        assert flat(learnt.value_gradient) == close(row.value_gradient(case))

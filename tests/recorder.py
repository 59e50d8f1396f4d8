"""A recorder of supervised training in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightrft_core import Group


class Recorder:
    """Keeps the numbers."""

    keeps_answers = False

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def phase(self, name: str, step: int) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, step: int, metrics: Mapping[str, float], groups: Sequence[Group]) -> None:
        self.lines.append(dict(metrics))

    def evaluated(self, step: int, groups: Sequence[Group]) -> None:
        raise AssertionError("nothing is answered")

    def warn(self, step: int, message: str) -> None:
        raise AssertionError(message)

    def checkpoint(self, step: int, save: Any) -> None:
        pass

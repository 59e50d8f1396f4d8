"""What a scalar reward model reads: whole conversations as tokens, those that are compared side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightrft_core import Media


@dataclass(frozen=True)
class Passage:
    """A question with one answer, as the model reads it.

    token_ids: [time] all of it. media: what its placeholder tokens stand for, in reading order.
    steps: the places in token_ids of the last token of each step of the answer, ascending, where a process reward model
        gives its scores; empty: it is scored as a whole.
    """

    token_ids: tuple[int, ...]
    media: tuple[Media, ...] = ()
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contest:
    """Passages to compare; labels: head -> one number for each, as in Comparison (of steps: one for each step).

    source: the data it came from, by which evaluations are split up.
    """

    uid: str
    passages: tuple[Passage, ...]
    labels: Mapping[str, tuple[float, ...]]
    source: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """What is counted of it: tokens that are read, and answers."""
        return {"tokens": sum(len(passage.token_ids) for passage in self.passages), "answers": len(self.passages)}

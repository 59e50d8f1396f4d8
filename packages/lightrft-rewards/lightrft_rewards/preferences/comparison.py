"""Answers to one question, and what people thought of them: the one form that all preference data are read into."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from lightrft_strategy.data.parts import Piece, Turn

Answer: TypeAlias = tuple[Piece, ...]
"""What was answered: text, or an image, a video or a sound that was made (its media not read yet)."""


@dataclass(frozen=True)
class Comparison:
    """A question and its answers, two or more, or one that was judged for itself.

    uid: names the row it came from (``train.jsonl:12``).
    asked: the conversation so far, the question last.
    labels: head (what is judged: "score", "helpful", "safe") -> one number for each answer: of two the greater is
        better, equal numbers are a tie. How far they lie apart means something in regression alone.
    source: the handler that read it. criterion: what "better" meant to those who judged, "" for no more than the head.
    reasoning: a written judgement of the answers in this order, to learn from; "" for none.
    makers: the models that answered, as far as they are known.
    root: the folder that the media lie in.
    """

    uid: str
    asked: tuple[Turn, ...]
    answers: tuple[Answer, ...]
    labels: Mapping[str, tuple[float, ...]]
    source: str = ""
    criterion: str = ""
    reasoning: str = ""
    makers: tuple[str, ...] = ()
    root: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raises ValueError if a head has not one number for each answer."""
        for head, numbers in self.labels.items():
            if len(numbers) != len(self.answers):
                raise ValueError(f"{self.uid}: {len(numbers)} labels of {head} for {len(self.answers)} answers")

    def reordered(self, order: tuple[int, ...]) -> Comparison:
        """The same with its answers in another order; a written judgement, which speaks of places, is left out if they
        change theirs."""
        return replace(
            self,
            answers=tuple(self.answers[place] for place in order),
            labels={head: tuple(numbers[place] for place in order) for head, numbers in self.labels.items()},
            makers=tuple(self.makers[place] for place in order) if self.makers else (),
            reasoning=self.reasoning if order == tuple(range(len(order))) else "",
        )


def side_by_chance(comparison: Comparison, seed: int) -> Comparison:
    """Its answers in an order that chance decides, always the same for the same seed and uid: files often have the
    preferred answer first. What has a written judgement keeps its order."""
    if comparison.reasoning:
        return comparison
    order = list(range(len(comparison.answers)))
    random.Random(f"{seed}/{comparison.uid}").shuffle(order)
    return comparison.reordered(tuple(order))

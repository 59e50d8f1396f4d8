"""How fast the learners compute, by what they were seen to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DECAY = 0.9
"""What a measurement counts for after one more: about the last ten make the average."""


class Pace(NamedTuple):
    """What a learner did in an optimiser step: work in a partition's units, and the seconds it computed."""

    work: float
    seconds: float


@dataclass
class Paces:
    """Exponential averages of the learners' speeds; kept in checkpoints, so that a resumed run plans alike.

    All ranks note the same numbers, so that all of them make the same plans. A step counts by its work: a first one,
    long for little work because so much is set up in it, drags no speed down for long.
    work: of past steps, and weighted: the sum of work times speed, both fading.
    """

    work: list[float] = field(default_factory=list[float])
    weighted: list[float] = field(default_factory=list[float])

    def note(self, measured: Sequence[Pace]) -> None:
        """Let an optimiser step count, for learners that had something to do. Another number of them begins anew."""
        if len(measured) != len(self.work):
            self.work, self.weighted = [0.0] * len(measured), [0.0] * len(measured)
        for learner, pace in enumerate(measured):
            if pace.seconds > 0:
                self.work[learner] = DECAY * self.work[learner] + pace.work
                self.weighted[learner] = DECAY * self.weighted[learner] + pace.work * (pace.work / pace.seconds)

    def speeds(self, learners: int) -> list[float] | None:
        """Work a second of each; None until so many learners have all been measured."""
        if len(self.work) != learners or not all(self.work):
            return None
        return [weighted / work for weighted, work in zip(self.weighted, self.work, strict=True)]

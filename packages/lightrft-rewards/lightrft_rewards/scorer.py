"""What judges samples, wherever it runs: rules in worker processes, a reward model, a service somewhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lightrft_rewards.samples import Outcome, Sample


class Scorer(Protocol):
    """Judges samples; what cannot be judged is an outcome with an error or a time-out, and never a score."""

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are; in training a call is all answers to one prompt."""
        ...

    def fingerprint(self) -> str:
        """Differs whenever it may judge a sample otherwise."""
        ...

    def describe(self, sample: Sample) -> str:
        """What judges this sample, and the sample, as messages about time-outs call them."""
        ...

    def close(self) -> None:
        """Let go of what it holds; can be called again."""
        ...

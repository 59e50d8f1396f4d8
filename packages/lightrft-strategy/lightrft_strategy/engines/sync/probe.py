"""A sequence that both sides score after every hand-over: the engine must agree with the trainer, and move with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from lightrft_core import TrainingDiverged
from lightrft_strategy.engines.sync.receipt import SyncError, Tolerance, check_probe

TEXT = (
    "The quick brown fox jumps over the lazy dog, and 17 + 25 = 42. In Python, `print(sum(range(10)))` writes 45; "
    "water boils at 100 degrees."
)
"""Words, numbers and code: what a policy is likely to have an opinion on."""


@dataclass
class Probe:
    """A sequence whose log-probabilities the engine must share with the trainer after every hand-over.

    ours, engine: [time - 1] as of the last one, None before the first.
    """

    token_ids: Sequence[int]
    tolerance: Tolerance
    ours: list[float] | None = None
    engine: list[float] | None = None

    def check(self, ours: list[float], engine: list[float]) -> tuple[float, float, float | None]:
        """(mean gap, largest gap, how far the engine has moved). Raises SyncError or TrainingDiverged."""
        if any(map(isnan, ours)):
            raise TrainingDiverged(
                "the policy's log-probabilities are not numbers, so its weights are ruined: lower "
                "--actor_learning_rate, or start from other weights"
            )
        mean, largest = check_probe(ours, engine, self.tolerance)
        moved = None if self.engine is None else _largest_change(self.engine, engine)
        if self.ours is not None and moved == 0 and _largest_change(self.ours, ours) > self.tolerance.largest / 10:
            raise SyncError(
                "the probe's log-probabilities changed in the trainer and not at all in the engine: it still samples "
                "with older weights"
            )
        self.ours, self.engine = ours, engine
        return mean, largest, moved


def _largest_change(before: Sequence[float], after: Sequence[float]) -> float:
    return max(abs(old - new) for old, new in zip(before, after, strict=True))

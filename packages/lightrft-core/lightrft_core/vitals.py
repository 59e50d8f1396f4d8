"""Signs that a run is going wrong, said while there is time to stop it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENTROPY_COLLAPSE = 0.1
"""Warn when entropy falls below this share of what the run began with."""
LENGTH_EXPLOSION = 3.0
"""Warn when answers grow beyond this multiple of what the run began with and more than half are cut off."""


class TrainingDiverged(RuntimeError):
    """There is no use in going on: too many optimiser steps in a row had to be skipped, or the weights are ruined."""


@dataclass
class Vitals:
    """What the run began with; kept in checkpoints. entropy in nats per token, length in tokens."""

    entropy: float | None = None
    length: float | None = None

    def check(self, metrics: Mapping[str, float]) -> list[str]:
        """The warnings a step's metrics give rise to, in words a person can act on."""
        warnings: list[str] = []
        entropy, length = metrics["rollout/entropy_estimate"], metrics["rollout/length_mean"]
        if self.entropy is None or self.length is None:
            self.entropy, self.length = entropy, length
        if entropy < ENTROPY_COLLAPSE * self.entropy and metrics["group/zero_signal_share"] > 0.5:
            warnings.append(
                f"entropy collapsed to {entropy:.3f} nats a token (began at {self.entropy:.3f}) and most groups carry "
                "no signal: lower --actor_learning_rate, or raise --temperature or --entropy_coef"
            )
        if length > LENGTH_EXPLOSION * self.length and metrics["rollout/truncated_share"] > 0.5:
            warnings.append(
                f"answers grew to {length:.0f} tokens (began at {self.length:.0f}) and most are cut off: "
                "look at the trajectories, or raise --generate_max_len"
            )
        if metrics["group/zero_signal_share"] == 1:
            warnings.append(
                "every group's rewards are all equal, so there was nothing to learn from: the task is too hard, too "
                "easy, or the reward never varies"
            )
        return warnings

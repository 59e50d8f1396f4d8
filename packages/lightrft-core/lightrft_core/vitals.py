"""Signs that a run is going wrong, said while there is time to stop it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ENTROPY_COLLAPSE = 0.1
"""Warn when entropy falls below this share of what the run began with."""
LENGTH_EXPLOSION = 3.0
"""Warn when answers grow beyond this multiple of what the run began with and more than half are cut off."""

LENGTH_CORRELATION = 0.7
"""Warn when reward and length go together more closely than this."""
UNEARNED_SHARE, UNEARNED_STEPS = 0.5, 10
"""Warn when more than this share of the answers that win have an accuracy of 0, for so many steps in a row."""
_CUT_OFF = 0.1
_SAME = 1e-9


class TrainingDiverged(RuntimeError):
    """There is no use in going on: too many optimiser steps in a row had to be skipped, or the weights are ruined."""


@dataclass
class Vitals:
    """What the run began with, and which signs stand; kept in checkpoints. entropy in nats per token, length in tokens.

    standing: the signs that the last step's metrics bore. unearned_steps: those in a row up to the last in which most
    wins were not earned.
    """

    entropy: float | None = None
    length: float | None = None
    unearned_steps: int = 0
    standing: list[str] = field(default_factory=list[str])

    def check(self, metrics: Mapping[str, float]) -> list[str]:
        """Warnings in words a person can act on, about signs that the step before did not bear."""
        if self.entropy is None or self.length is None:
            self.entropy, self.length = metrics["rollout/entropy_estimate"], metrics["rollout/length_mean"]
        not_earned = metrics.get("reward/unearned_share", 0.0) > UNEARNED_SHARE
        self.unearned_steps = self.unearned_steps + 1 if not_earned else 0
        before, signs = self.standing, self._signs(metrics)
        self.standing = list(signs)
        return [warning for sign, warning in signs.items() if sign not in before]

    def _signs(self, metrics: Mapping[str, float]) -> dict[str, str]:
        signs: dict[str, str] = {}
        entropy, length = metrics["rollout/entropy_estimate"], metrics["rollout/length_mean"]
        began_with_entropy, began_with_length = self.entropy or 0.0, self.length or 0.0
        if entropy < ENTROPY_COLLAPSE * began_with_entropy and metrics["group/zero_signal_share"] > 0.5:
            signs["entropy"] = (
                f"entropy collapsed to {entropy:.3f} nats a token (began at {began_with_entropy:.3f}) and most groups "
                "carry no signal: lower --actor_learning_rate, or raise --temperature or --entropy_coef"
            )
        if length > LENGTH_EXPLOSION * began_with_length and metrics["rollout/truncated_share"] > 0.5:
            signs["length"] = (
                f"answers grew to {length:.0f} tokens (began at {began_with_length:.0f}) and most are cut off: "
                "look at the trajectories, or raise --generate_max_len"
            )
        if metrics["group/zero_signal_share"] == 1:
            signs["signal"] = _without_signal(metrics)
        correlation = metrics.get("reward/length_correlation", 0.0)
        if correlation > LENGTH_CORRELATION or (
            -correlation > LENGTH_CORRELATION and metrics["rollout/truncated_share"] < _CUT_OFF
        ):
            signs["reward by length"] = (
                f"{'longer' if correlation > 0 else 'shorter'} answers earn more (correlation {correlation:.2f} among "
                "the answers to a prompt): unless that is meant, look at the trajectories for what the reward pays"
            )
        if self.unearned_steps >= UNEARNED_STEPS:
            signs["unearned"] = (
                f"{metrics['reward/unearned_share']:.0%} of the answers that win have an accuracy of 0, as in the "
                f"{UNEARNED_STEPS} steps before: the reward is earned by form alone; give format a lower weight in "
                "--rule_reward, or train on easier prompts"
            )
        return signs


def _without_signal(metrics: Mapping[str, float]) -> str:
    """What to say of a step in which no group's rewards differ."""
    if metrics.get("group/all_correct_share") == 1:
        return "every answer is right, so there was nothing to learn from: the prompts are too easy by now"
    mean, square = metrics.get("reward/mean"), metrics.get("reward/square_mean")
    if mean is not None and square is not None and square - mean**2 <= _SAME * max(1.0, square):
        return (
            f"every answer earned the same reward, {mean:g}, so there was nothing to learn from: the task is too hard, "
            "or the reward does not read the answers; look at the trajectories"
        )
    return (
        "every group's rewards are all equal, so there was nothing to learn from: the task is too hard, too easy, or "
        "the reward never varies"
    )

"""Weights for answers sampled by an engine whose probabilities are not quite the trainer's: w = pi_old / pi_rollout.

Token level, clipped above: truncated importance sampling; token level, masked: IcePop; whole answers: the product of
the tokens' ratios, or their geometric mean. A weight multiplies a token's policy term and carries no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVELS = ("token", "sequence", "geometric")
MODES = ("clip", "mask")


def ratios(old_logprobs: Sequence[float], rollout_logprobs: Sequence[float], level: str) -> list[float]:
    """The raw ratio at each token of one answer; the same at all of them unless level is "token"."""
    logs = [old - rollout for old, rollout in zip(old_logprobs, rollout_logprobs, strict=True)]
    if level == "token":
        return [math.exp(log) for log in logs]
    if level == "sequence":
        return [math.exp(math.fsum(logs))] * len(logs)
    if level == "geometric":
        return [math.exp(math.fsum(logs) / len(logs))] * len(logs)
    raise ValueError(f"level {level!r} is none of {LEVELS}")


def weights(
    old_logprobs: Sequence[float],
    rollout_logprobs: Sequence[float],
    *,
    level: str,
    mode: str,
    low: float,
    high: float,
) -> list[float]:
    """clip: the ratio held to [low, high] (low = 0 gives min(w, C)). mask: the ratio inside [low, high], 0 outside."""
    raw = ratios(old_logprobs, rollout_logprobs, level)
    if mode == "clip":
        return [min(max(ratio, low), high) for ratio in raw]
    if mode == "mask":
        return [ratio if low <= ratio <= high else 0.0 for ratio in raw]
    raise ValueError(f"mode {mode!r} is none of {MODES}")

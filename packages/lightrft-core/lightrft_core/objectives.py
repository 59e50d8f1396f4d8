"""Policy objectives: what one optimiser step raises, token by token. Pure functions on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log-ratios are bounded here before exp: e^20 lies far outside any trust region, so no useful gradient changes."""


def ppo_clip(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), to be maximised.

    All [tokens]. The ratio may move within [1 - clip_low, 1 + clip_high] (DAPO's asymmetric form, 2503.14476, eq. 10).
    Returns (objective, clipped): clipped is True where the bound took a token's gradient away.
    """
    ratio = (logprobs - old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    return torch.minimum(free, bounded), bounded < free

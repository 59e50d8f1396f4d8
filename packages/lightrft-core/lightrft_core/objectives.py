"""Policy objectives: what one optimiser step raises, token by token. Pure functions on tensors.

Each takes (tokens, bounds) and returns (objective, clipped), both [tokens]: the objective is to be maximised, and
clipped is True where a bound holds back the token's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import TypeAlias

import torch
from torch import Tensor

from lightrft_core.ratios import Tokens, bounded_exp


@dataclass(frozen=True)
class Bounds:
    """How far a ratio may move: 1 - low to 1 + high (GMPO: log-ratios from -low to high).

    dual: for A < 0, bound the loss at dual * |A| (dual-clip PPO, Ye et al. 2020, arXiv 1912.09729, eq. 5); None: off.
    """

    low: float
    high: float
    dual: float | None = None


Objective: TypeAlias = Callable[[Tokens, Bounds], tuple[Tensor, Tensor]]


def ppo_clip(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), low, high as in DAPO's eq. 10."""
    return _clip(bounded_exp(tokens.log_ratio), tokens.advantages, bounds)


def gspo(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """GSPO (Zheng et al. 2025, arXiv 2507.18071, eq. 5-7): the clip on s = exp(mean over the answer of log r)."""
    return _clip(bounded_exp(tokens.sequence_mean(tokens.log_ratio)), tokens.advantages, bounds)


def gspo_token(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """GSPO-token (2507.18071, eq. 13-14): sg[s] pi / sg[pi], so that each token may have an advantage of its own."""
    sequence_ratio = bounded_exp(tokens.sequence_mean(tokens.log_ratio)).detach()
    ratio = sequence_ratio * (tokens.logprobs - tokens.logprobs.detach()).exp()
    return _clip(ratio, tokens.advantages, bounds)


def gmpo(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """GMPO (Zhao et al. 2025, arXiv 2507.20673, eq. 4): the geometric mean of an answer's clipped ratios, times A.

    A token's log-ratio is clipped to [-low, high] on the side on which PPO's minimum would clip.
    """
    free = tokens.log_ratio
    held = free.clamp(-bounds.low, bounds.high)
    clipped = torch.where(tokens.advantages >= 0, held < free, held > free)
    kept = torch.where(clipped, held, free)
    return bounded_exp(tokens.sequence_mean(kept)) * tokens.advantages, clipped


def cpgd(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """CPGD's clipped policy gradient (Liu et al. 2025, arXiv 2505.12504): PPO's clip on ln r instead of r.

    Its other half, the policy drift, is a term of its own (kl.drift).
    """
    free = tokens.log_ratio * tokens.advantages
    held = tokens.log_ratio.clamp(log(1 - bounds.low), log(1 + bounds.high)) * tokens.advantages
    clipped = held < free
    return torch.where(clipped, held, free), clipped


def cispo(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """CISPO (MiniMax 2025, arXiv 2506.13585, eq. 4-5): sg[clip(r)] A log pi; no token loses its gradient.

    clipped tells where the weight was bounded.
    """
    ratio = bounded_exp(tokens.log_ratio.detach())
    weight = ratio.clamp(1 - bounds.low, 1 + bounds.high)
    return weight * tokens.advantages * tokens.logprobs, weight != ratio


def policy_gradient(tokens: Tokens, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """REINFORCE (Williams 1992): A log pi. Nothing is bounded, so it wants fresh samples."""
    del bounds
    return tokens.advantages * tokens.logprobs, torch.zeros_like(tokens.advantages, dtype=torch.bool)


OBJECTIVES: dict[str, Objective] = {
    "ppo": ppo_clip,
    "gspo": gspo,
    "gspo_token": gspo_token,
    "gmpo": gmpo,
    "cpgd": cpgd,
    "cispo": cispo,
    "policy_gradient": policy_gradient,
}
"""By the name --policy_loss_type gives them."""

USUAL_BOUNDS = {
    "ppo": Bounds(0.2, 0.2),
    "gspo": Bounds(3e-4, 4e-4),
    "gspo_token": Bounds(3e-4, 4e-4),
    "gmpo": Bounds(0.4, 0.4),
    "cpgd": Bounds(0.2, 0.2),
    "cispo": Bounds(1.0, 4.0),
}
"""The bounds each objective's paper uses; cispo's have no number there."""


def value_clip_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """PPO's value loss: half the larger squared error of V and of V held within clip of the old V. All [tokens].

    Returns (loss, clipped). (Schulman et al. 2017, in the form of their published code; the paper's eq. 9 has no clip.)
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    free_error, held_error = (values - returns).square(), (held - returns).square()
    clipped = held_error > free_error
    return torch.where(clipped, held_error, free_error) / 2, clipped


def _clip(ratio: Tensor, advantages: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    free = ratio * advantages
    held = ratio.clamp(1 - bounds.low, 1 + bounds.high) * advantages
    clipped = held < free
    objective = torch.where(clipped, held, free)
    if bounds.dual is not None:
        floor = torch.where(advantages < 0, bounds.dual * advantages, -torch.inf)
        beyond = floor > objective
        objective, clipped = torch.where(beyond, floor, objective), clipped | beyond
    return objective, clipped

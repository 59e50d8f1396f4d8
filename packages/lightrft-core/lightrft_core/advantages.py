"""Advantage estimators: how much better than expected each answer was. Pure functions on tensors.

A baseline turns the rewards of a batch into one number an answer; credit spreads it over the answer's tokens.
Rewards and advantages of answers are [groups, n]; `valid` [groups, n] is False where a reward is not known: it neither
counts nor gets an advantage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Baseline: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(rewards, valid) -> advantages, all [groups, n], the groups of all ranks."""

USEFUL_GROUP_CAP = 3.0
"""Most that CPGD's filter-like weight multiplies an advantage by."""


def group_mean(rewards: Tensor, valid: Tensor) -> Tensor:
    """R - mean per group (Dr.GRPO, arXiv 2503.20783; CPGD). Exactly 0 where a group's known rewards are all equal."""
    rewards = torch.where(valid, rewards, 0.0)
    mean = rewards.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid & has_signal(rewards, valid), rewards - mean, 0.0)


def group_norm(rewards: Tensor, valid: Tensor, *, eps: float = 1e-6) -> Tensor:
    """GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1.2): (R - mean) / (std + eps), the std unbiased."""
    centred = group_mean(rewards, valid)
    std = (centred.square().sum(1, keepdim=True) / (valid.sum(1, keepdim=True) - 1).clamp(min=1)).sqrt()
    return centred / (std + eps)


def leave_one_out(rewards: Tensor, valid: Tensor) -> Tensor:
    """RLOO (Ahmadian et al. 2024, arXiv 2402.14740, eq. 7): R minus the mean of the group's others."""
    count = valid.sum(1, keepdim=True)
    return group_mean(rewards, valid) * count / (count - 1).clamp(min=1)


def batch_mean(rewards: Tensor, valid: Tensor) -> Tensor:
    """R minus the mean reward of the whole batch."""
    known = rewards[valid]
    return torch.where(valid, rewards - known.sum() / max(known.numel(), 1), 0.0)


def useful_share(rewards: Tensor, valid: Tensor) -> Tensor:
    """CPGD's filter-like weight (arXiv 2505.12504): R - mean per group, times judged groups / useful ones, capped."""
    groups, useful = float(valid.any(1).sum()), float(has_signal(rewards, valid).sum())
    return group_mean(rewards, valid) * min(groups / max(useful, 1.0), USEFUL_GROUP_CAP)


def no_baseline(rewards: Tensor, valid: Tensor) -> Tensor:
    """R itself."""
    return torch.where(valid, rewards, 0.0)


def has_signal(rewards: Tensor, valid: Tensor) -> Tensor:
    """[groups, 1] whether at least two known rewards of a group differ, compared bit by bit."""
    highest = torch.where(valid, rewards, -torch.inf).amax(1, keepdim=True)
    lowest = torch.where(valid, rewards, torch.inf).amin(1, keepdim=True)
    return highest > lowest


def returns_to_go(token_rewards: Tensor, gamma: float) -> Tensor:
    """[tokens] the discounted sum of an answer's token rewards [tokens] from each token on."""
    if gamma == 1:
        return token_rewards.flip(0).cumsum(0).flip(0)
    return _discounted(token_rewards, gamma)


def gae(token_rewards: Tensor, values: Tensor, gamma: float, lambd: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438, eq. 11-16) over one answer.

    token_rewards, values: [tokens]; the value after the last token is 0. Tokens that are not the policy's own are not
    among them: a gap is jumped, not bootstrapped through. Returns (advantages, returns), both [tokens].
    """
    following = torch.cat([values[1:], values.new_zeros(1)])
    advantages = _discounted(token_rewards + gamma * following - values, gamma * lambd)
    return advantages, advantages + values


def _discounted(numbers: Tensor, factor: float) -> Tensor:
    """[tokens] sum over s >= t of factor^(s - t) numbers_s."""
    totals, total = [], 0.0
    for number in reversed(numbers.tolist()):
        total = number + factor * total
        totals.append(total)
    return numbers.new_tensor(totals[::-1])


def whiten(advantages: Sequence[Tensor], *, eps: float = 1e-8) -> list[Tensor]:
    """(A - mean) / sqrt(variance + eps) over every token of the batch (REINFORCE++, arXiv 2501.03262).

    advantages: one tensor [tokens] an answer. A batch of equal advantages becomes 0.
    """
    tokens = torch.cat(list(advantages)).double() if advantages else torch.zeros(0, dtype=torch.float64)
    count = max(tokens.numel(), 1)
    mean = float(tokens.sum()) / count
    variance = float((tokens - mean).square().sum()) / count
    if variance <= (1e-12 * mean) ** 2:  # nothing but the rounding of equal numbers
        return [torch.zeros_like(part) for part in advantages]
    return [(part - mean) / (variance + eps) ** 0.5 for part in advantages]


@dataclass(frozen=True)
class AdvantageEstimator:
    """How rewards become advantages.

    baseline: what is taken from an answer's reward. critic: credit tokens by GAE, with a critic's values.
    whiten: normalise over all tokens of the batch afterwards. within_group: compares a prompt's answers.
    """

    baseline: Baseline = no_baseline
    critic: bool = False
    whiten: bool = False
    within_group: bool = False


def _group(function: Callable[[Tensor, Tensor], Tensor], *, whiten: bool = False) -> AdvantageEstimator:
    return AdvantageEstimator(function, whiten=whiten, within_group=True)


ADVANTAGE_ESTIMATORS: dict[str, AdvantageEstimator] = {
    "group_norm": _group(group_norm),
    "dr_grpo": _group(group_mean),
    "rloo": _group(leave_one_out),
    "cpgd": _group(group_mean),
    "cpgd_filter": AdvantageEstimator(useful_share, within_group=True),
    "return": AdvantageEstimator(),
    "batch_mean": AdvantageEstimator(batch_mean),
    "reinforce": AdvantageEstimator(whiten=True),
    "reinforce_baseline": _group(group_mean, whiten=True),
    "gae": AdvantageEstimator(critic=True, whiten=True),
}
"""By the name --advantage_estimator gives them."""

"""Advantage estimators: how much better than expected each answer was. Pure functions on tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def group_norm(rewards: Tensor, valid: Tensor, *, eps: float = 1e-6) -> Tensor:
    """GRPO advantages (Shao et al. 2024, arXiv 2402.03300, section 4.1.2): (R - mean) / (std + eps) per group.

    rewards: [groups, n] one scalar reward per rollout.
    valid: [groups, n] False where a rollout has no reward; it neither counts nor gets an advantage.
    Returns [groups, n], zero mean per group, with the unbiased standard deviation;
    exactly 0 where a group's rewards are all equal or fewer than two are known.
    """
    rewards = torch.where(valid, rewards, 0.0)
    count = valid.sum(1, keepdim=True)
    centred = torch.where(valid, rewards - rewards.sum(1, keepdim=True) / count.clamp(min=1), 0.0)
    std = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return torch.where(has_signal(rewards, valid), centred / (std + eps), 0.0)


def has_signal(rewards: Tensor, valid: Tensor) -> Tensor:
    """[groups, 1] whether at least two known rewards of a group differ, compared bit by bit."""
    highest = torch.where(valid, rewards, -torch.inf).amax(1, keepdim=True)
    lowest = torch.where(valid, rewards, torch.inf).amin(1, keepdim=True)
    return highest > lowest

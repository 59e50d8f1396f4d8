"""How answers are judged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RuleArgs:
    """Rewards"""

    rule_reward: str | None = None
    """rules and their weights, such as number:1.0,format:0.2"""
    reward_routes: dict[str, str] | None = None
    """rules by the row's route, such as {"math": "number:1.0"}; rows without a route get rule_reward"""
    reward_fn: str | None = None
    """a Python function that judges instead of rules: file.py:function"""
    reward_timeout: float = 10.0
    """seconds to judge one sample"""
    reward_workers: int = 2
    """processes that judge"""


@dataclass(frozen=True)
class RewardArgs(RuleArgs):
    """Rewards"""

    max_reward_error_share: float = 0.5
    """stop if a larger share of a step's samples could not be judged"""

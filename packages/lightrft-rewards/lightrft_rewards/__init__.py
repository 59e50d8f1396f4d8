"""Rewards for reinforcement fine-tuning: rules, users' functions, their combination, and the workers they run in.

Nothing here imports torch. LightRFT's own adapter, which does, is `lightrft_rewards.judge.Judge`.
"""

from lightrft_rewards.check import check_reward_function
from lightrft_rewards.combination import RewardSpec, combine, parse_routes, parse_spec
from lightrft_rewards.errors import LabelError, RewardFailure, RewardSetupError
from lightrft_rewards.pool import RewardPool
from lightrft_rewards.rules import RULES, Rule, find_rule, rule_names
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scoring import Scoring

__all__ = [
    "RULES",
    "LabelError",
    "Outcome",
    "RewardFailure",
    "RewardPool",
    "RewardSetupError",
    "RewardSpec",
    "Rule",
    "Sample",
    "Scoring",
    "check_reward_function",
    "combine",
    "find_rule",
    "parse_routes",
    "parse_spec",
    "rule_names",
]

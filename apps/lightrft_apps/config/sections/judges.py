"""Which models and services judge answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class JudgesArgs:
    """Reward models"""

    reward_pretrain: str | None = None
    """scalar reward models: a folder or hub name, called rm in rule_reward; several as helpful=FOLDER,safe=FOLDER"""
    reward_max_len: int | None = None
    """longest prompt with its answer, in tokens, that reward models read; more is an error; default: as trained"""
    reward_token_budget: int = 16384
    """upper bound on tokens that a reward model reads at once, padding included"""
    remote_rm_url: str | None = None
    """a reward service, called remote in rule_reward: its URL, or those of several alike, separated by commas"""
    remote_rm_dialect: Literal["auto", "native", "openrlhf", "lightrft"] = "auto"
    """what the service speaks: lightrft serve-reward's own schema, OpenRLHF's or the first LightRFT's"""
    remote_rm_key_env: str | None = None
    """environment variable that holds the service's token"""
    reward_gates: str | None = None
    """parts that hold an answer back: rm.safe>=0:-1 lets an answer whose rm.safe is below 0 score -1 at most"""

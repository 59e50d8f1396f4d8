"""A look at a user's reward function before anything expensive begins."""

from __future__ import annotations

from lightrft_rewards.pool import RewardPool
from lightrft_rewards.scoring import Scoring


def check_reward_function(target: str, *, start_timeout: float = 120.0) -> None:
    """Load ``file.py:function`` in a worker process, which then ends; nothing of it runs in this one.

    Raises RewardSetupError, with file and line, if there is no such file or function, if the file does not load within
    start_timeout seconds, or if the function does not take (prompts, responses, labels) or OpenRLHF's
    (queries, prompts, labels).
    """
    RewardPool(Scoring(function=target), num_workers=1, start_timeout=start_timeout).close()

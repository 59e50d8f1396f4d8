"""The reward kit in verl, as its custom reward function:

    pip install lightrft-rewards
    python -m verl.trainer.main_ppo custom_reward_function.path=examples/rewards_in_verl.py ...

A row's `data_source` names what judges it, `reward_model.ground_truth` is its label.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lightrft_rewards import RewardPool, Sample, Scoring, parse_routes

ROUTES = {"openai/gsm8k": "gsm8k", "hiyouga/geometry3k": "geo3k:0.9,boxed_format:0.1", "livecodebench": "code"}


@lru_cache
def pool() -> RewardPool:
    """One worker in each of verl's own; it ends with this process."""
    return RewardPool(Scoring(routes=parse_routes(ROUTES)), timeout=20.0, num_workers=1)


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, float]:
    """The score that trains, and the accuracy. Raises RuntimeError where judging failed, as verl has no word for it."""
    sample = Sample(response=solution_str, label=ground_truth, route=data_source, name=f"a row of {data_source}")
    [[outcome]] = pool().score([[sample]])
    if outcome.score is None or outcome.accuracy is None:
        raise RuntimeError(outcome.error or f"{pool().describe(sample)}: not done in time")
    return {"score": outcome.score, "acc": outcome.accuracy}

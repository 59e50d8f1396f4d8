"""The reward kit in TRL's GRPOTrainer: answers judged in worker processes that can be killed, programs in a sandbox.

    pip install lightrft-rewards trl

    from rewards_in_trl import reward
    trainer = GRPOTrainer(model=..., reward_funcs=reward, train_dataset=...)

The data set has a column `answer`, and `task` names what judges the row: mathematics or code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from lightrft_rewards import RewardPool, Sample, Scoring, parse_routes

ROUTES = {"mathematics": "boxed:1.0,boxed_format:0.1", "code": "code_share:1.0,repetition:0.5"}


@lru_cache
def pool() -> RewardPool:
    """The workers, started with the first answers to judge; they end with this process."""
    return RewardPool(Scoring(routes=parse_routes(ROUTES)), timeout=20.0, num_workers=2)


def reward(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], task: Sequence[str], **columns: Any
) -> list[float | None]:
    """One score per completion; None, which TRL leaves out of its means, where judging failed or took too long."""
    samples = [
        Sample(response=_text(completion), label=label, route=route)
        for completion, label, route in zip(completions, answer, task, strict=True)
    ]
    [outcomes] = pool().score([samples])
    for outcome in outcomes:
        if outcome.error:
            print(outcome.error)
    return [outcome.score for outcome in outcomes]


def _text(completion: str | Sequence[Mapping[str, str]]) -> str:
    """TRL gives the turns of a conversation, or plain text."""
    return completion if isinstance(completion, str) else completion[-1]["content"]

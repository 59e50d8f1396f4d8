"""Ranks of unequal speed, for test_pace_ranks: they sleep in each layer for what its tokens cost them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from lightrft_core import ALGORITHMS, BatchSizes, Cost, Paces
from lightrft_core.experience import make_experience

from .recorded import Case, build, recorded

SECONDS_A_TOKEN = (0.008, 0.016)
"""Of each rank, in each layer."""


def slow_runs(hold: str) -> tuple[list[float], list[list[float]], list[float]]:
    """(time/imbalance of each step, the speeds after each, the weights' sums) of a run whose second rank is slow."""
    strategy, algorithm = build(Case(hold)), ALGORITHMS["grpo"]
    sizes, paces = BatchSizes(None, 1, 60, 8, cost=Cost(1.0, 0.0)), Paces()
    warm, _ = make_experience(recorded(9), algorithm, strategy, sizes)
    strategy.train_step("policy", warm[0], algorithm.losses()["policy"])
    strategy.imbalance()
    found = [part for part in strategy.held["policy"].module.modules() if isinstance(part, LlamaDecoderLayer)]
    assert len(found) == 2
    for layer in found:
        layer.forward = _slowed(layer.forward, SECONDS_A_TOKEN[strategy.rank])
    imbalances: list[float] = []
    speeds: list[list[float]] = []
    for number in range(4):
        (batches,), _ = make_experience(recorded(number), algorithm, strategy, sizes, paces)
        for model, loss in algorithm.losses().items():
            report = strategy.train_step(model, batches, loss)
            assert report.fault == "" and report.paces[strategy.rank].work == sum(batch.work for batch in batches)
            paces.note(report.paces)
        imbalances.append(strategy.imbalance()["time/imbalance"])
        speeds.append(paces.speeds(2) or [])
    return imbalances, speeds, [report.loss, report.grad_norm]


def _slowed(forward: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def slow(states: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds * states.shape[0] * states.shape[1])
        return forward(states, *args, **kwargs)

    return slow

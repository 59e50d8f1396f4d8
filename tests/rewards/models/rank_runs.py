"""What each of several ranks does for test_ranks.py: a few steps of learning a preference."""

from __future__ import annotations

from typing import Any

import torch

from lightrft_core import OneRank
from lightrft_rewards.models.contest_losses import LossOptions
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.zero import Zero

from .planted import contests, run_steps, tiny_backbone

HOLDS: dict[str, Hold] = {"whole": Whole, "fsdp": FullyShard(), "zero2": Zero(2), "zero3": Zero(3)}
HEADS = ("helpful", "harmless")


def taught_on_ranks(kind: str, loss: str, pooling: str) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """(metrics of each step, weights) of three steps on the ranks there are, of one process without a group."""
    several = torch.distributed.is_initialized()
    ranks: Any = TorchRanks() if several else OneRank()
    options = LossOptions(loss)
    model = RewardModel(tiny_backbone(1), heads=HEADS, pooling=pooling, uncertain=options.needs_uncertain)
    strategy = TorchStrategy(
        {"rm": model}, {"rm": OptimiserConfig(5e-3, 3)}, hold=HOLDS[kind], ranks=ranks, timed=kind != "zero3"
    )
    rows = contests(15, heads=HEADS, answers=3)
    lines = run_steps(strategy, RewardObjective(HEADS, options), rows, contests(7, 1, heads=HEADS), steps=3, per_step=5)
    return lines, {name: tensor.clone() for name, tensor in full_tensors(strategy.held["rm"].module)}

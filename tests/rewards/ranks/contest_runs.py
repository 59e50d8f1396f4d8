"""What each of several ranks does for test_reward_ranks.py: a few steps of a reward model on uneven contests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from lightrft_core import BatchSizes, OneRank, Schedule
from lightrft_rewards.models.contest_losses import LossOptions
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_strategy.data import ExampleStream
from lightrft_strategy.sft import SupervisedTrainer
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.zero import Zero

from ..models.planted import Recorder, a_contest, in_float64, tiny_backbone

HEADS = ("helpful", "harmless")
HOLDS: dict[str, Hold] = {
    "one": Whole,
    "ddp": Whole,
    "fsdp2": FullyShard(),
    "slices": FullyShard(tp_size=2),
    "zero 1": Zero(1),
    "zero 2": Zero(2),
    "zero 3": Zero(3, persistence_threshold=0),
}


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    hold: str = "one"
    dtype: str = "float64"
    pooling: str = "last"
    loss: str = "bradley_terry"
    steps: int = 6


@dataclass(frozen=True)
class Run:
    """lines: what was recorded, evaluations with it. weights: as they ended, whole. empty: micro-batches of nothing."""

    lines: list[dict[str, float]]
    weights: dict[str, Tensor]
    empty: int


def rows() -> list[Contest]:
    """Of 2 to 4 answers of many lengths; some are tied, some lack a head."""
    random, made = Random(3), []
    for number in range(13):
        contest = a_contest(random, number, answers=2 + number % 3, heads=HEADS)
        labels = {head: numbers for head, numbers in contest.labels.items() if number % 4 or head == HEADS[0]}
        if number % 5 == 2:
            labels[HEADS[0]] = (1.0,) * len(contest.passages)
        made.append(replace(contest, labels=labels))
    return made


def train(case: Case) -> Run:
    """The run on the ranks there are, or in one process without a group. Step 3 has fewer contests than ranks."""
    options = LossOptions(case.loss)
    model = RewardModel(
        tiny_backbone(1), heads=HEADS, pooling=case.pooling, uncertain=options.needs_uncertain, probing_layer=1
    )
    if case.dtype == "float64":
        model = in_float64(model)
    strategy = TorchStrategy(
        {"rm": model},
        {"rm": OptimiserConfig(learning_rate=1e-2, total_steps=case.steps)},
        hold=HOLDS[case.hold],
        ranks=TorchRanks(2 if case.hold == "slices" else 1) if torch.distributed.is_initialized() else OneRank(),
        timed=case.hold != "zero 3",
    )
    recorder, contests, objective, empty = Recorder(), rows(), RewardObjective(HEADS, options), 0

    def cut(*args: object) -> list[object]:
        nonlocal empty
        batches = objective.cut(*args)
        empty += sum(not batch.work for batch in batches)
        return batches

    SupervisedTrainer(
        strategy=strategy,
        examples=ExampleStream([contests], None, 5, 2, 5),
        cut=cut,
        objective=objective,
        recorder=recorder,
        sizes=BatchSizes(5, 2, 60, 64, shared_prompts=False),
        schedule=Schedule(eval_steps=2),
        held_out=contests[:7],
        model="rm",
    ).run()
    weights = {name: tensor.clone() for name, tensor in full_tensors(strategy.held["rm"].module)}
    return Run(recorder.lines, weights, empty)

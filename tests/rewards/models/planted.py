"""What the tests of reward models share: tiny models, contests with a preference planted in them, a recorder."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import BatchSizes, Schedule
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_strategy.sft import SupervisedTrainer
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

from ...recorder import Recorder

VOCABULARY, GOOD = 50, 7
"""Tokens there are; the one that answers are better for."""


def tiny_backbone(seed: int = 0, *, layers: int = 2, **changes: Any) -> Any:
    """A Llama with random weights, large enough to matter, and no pad token of its own."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**sizes, vocab_size=VOCABULARY, num_hidden_layers=layers, initializer_range=0.1, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


def in_float64(model: nn.Module) -> Any:
    """The model in float64 all through: Transformers' norms would compute in float32 whatever they are given."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)
                norm.weight = child.weight
                setattr(part, name, norm)
    return model.double()


def a_passage(random: Random, *, good: int, length: int | None = None) -> Passage:
    """So many good tokens among others."""
    others = [token for token in range(2, VOCABULARY) if token != GOOD]
    tokens = [random.choice(others) for _ in range(length or random.randrange(6, 13))]
    for place in random.sample(range(len(tokens)), good):
        tokens[place] = GOOD
    return Passage(tuple(tokens))


def a_contest(random: Random, number: int, *, answers: int = 2, heads: Sequence[str] = ("score",)) -> Contest:
    """Answers with different numbers of good tokens; by the head harmless, fewer are better."""
    goods = random.sample(range(answers + 3), answers)
    scores = tuple(float(good) for good in goods)
    labels = {head: tuple(-score for score in scores) if head == "harmless" else scores for head in heads}
    return Contest(f"row:{number}", tuple(a_passage(random, good=good) for good in goods), labels)


def contests(count: int, seed: int = 0, **settings: Any) -> list[Contest]:
    """Many, the same for the same seed."""
    random = Random(seed)
    return [a_contest(random, number, **settings) for number in range(count)]


class Stream:
    """Contests by step, again and again."""

    def __init__(self, rows: Sequence[Contest], per_step: int, num_steps: int) -> None:
        self.rows, self.per_step, self.num_steps = rows, per_step, num_steps

    def batch(self, step: int) -> list[Contest]:
        start = (step - 1) * self.per_step
        return [self.rows[place % len(self.rows)] for place in range(start, start + self.per_step)]


def run_steps(
    strategy: TorchStrategy,
    objective: Any,
    rows: Sequence[Contest],
    held_out: Sequence[Contest],
    *,
    steps: int,
    per_step: int,
) -> list[dict[str, float]]:
    """The metrics of each step, held_out's before the first and after the last."""
    recorder = Recorder()
    SupervisedTrainer(
        strategy=strategy,
        examples=Stream(rows, per_step, steps),
        cut=objective.cut,
        objective=objective,
        recorder=recorder,
        sizes=BatchSizes(per_step, 16, 4096, 64, shared_prompts=False),
        schedule=Schedule(),
        held_out=held_out,
        model="rm",
    ).run()
    return recorder.lines


def taught(
    model: RewardModel,
    objective: Any,
    rows: Sequence[Contest],
    held_out: Sequence[Contest],
    *,
    steps: int,
    per_step: int = 16,
    learning_rate: float = 3e-3,
) -> list[dict[str, float]]:
    """The same of a model in this process alone."""
    strategy = TorchStrategy({"rm": model}, {"rm": OptimiserConfig(learning_rate, steps)})
    return run_steps(strategy, objective, rows, held_out, steps=steps, per_step=per_step)


def scored(model: RewardModel, batch: Any) -> torch.Tensor:
    """[scored, heads]"""
    with torch.no_grad():
        means: torch.Tensor = model(batch).means
    return means

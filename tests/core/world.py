"""A small world around the loop, with a real strategy and model inside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightrft_core import (
    ALGORITHMS,
    BatchSizes,
    Group,
    Metrics,
    Prompt,
    SamplingParams,
    StepReport,
    Trainer,
    Verdict,
)
from lightrft_strategy.training import TorchStrategy

GRPO = replace(ALGORITHMS["grpo"], kl_coef=0.0)
N = 4
Score = Callable[[Group, int], float | None]


class Watched(TorchStrategy):
    """The real strategy, with what it was asked for written down."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reports: list[StepReport] = []
        self.seen: list[list[tuple[Tensor | None, Tensor]]] = []
        self.forwards: list[str] = []

    def forward(self, model, batches):
        self.forwards += [model] * len(batches)
        return super().forward(model, batches)

    def train_step(self, model, batches, loss):
        pairs: list[tuple[Tensor | None, Tensor]] = []

        def watched(policy, batch):
            if model == "policy":
                pairs.append((batch.old_logprobs, policy.logprobs.detach()))
            return loss(policy, batch)

        self.reports.append(super().train_step(model, batches, watched))
        self.seen.append(pairs)
        return self.reports[-1]


@dataclass
class World:
    """Engine, reward, prompts and recorder in one, sharing one list of events."""

    build_group: Callable[..., Group]
    folder: Path  # of checkpoints
    score_of: Score
    num_steps: int = 2
    events: list[Any] = field(default_factory=list)
    keeps_answers: bool = True
    records: dict[int, dict[str, float]] = field(default_factory=dict)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def batch(self, step: int) -> list[Prompt]:
        return [Prompt(f"row{step}.{i}", (), "", (10 + step, 20 + i, 30)[: 2 + i]) for i in range(2)]

    def spare(self, start: int, count: int) -> list[Prompt]:
        return [Prompt(f"spare{start + i}", (), "", (60 + start + i, 30)) for i in range(count)]

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        self.events.append(f"generate {step}" + (" greedily" if sampling.greedy else ""))
        groups = []
        for prompt in prompts:
            rng = random.Random(f"{prompt.uid}")
            answers = [[rng.randrange(1, 300) for _ in range(rng.randint(1, 6))] for _ in range(sampling.n)]
            group = self.build_group(prompt.token_ids, answers, [0.0] * sampling.n, uid=prompt.uid)
            groups.append(replace(group, prompt=prompt))
        return groups

    def load_weights(self, version: int) -> Metrics:
        self.events.append(f"load weights {version}")
        metrics = Metrics()
        metrics.max("sync/version", [version])
        return metrics

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        rows = [[self.score_of(group, i) for i in range(len(group.rollouts))] for group in groups]
        return [[Verdict(s, accuracy=None if s is None else min(1.0, max(0.0, s))) for s in row] for row in rows]

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        self.events.append(f"{name} {step}")
        yield
        self.events.append(f"{name} {step} ends")

    def record(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        self.events.append(f"record {step}")
        self.records[step] = dict(metrics)

    def evaluated(self, step: int, groups: Sequence[Group]) -> None:
        self.events.append(f"evaluated {step}")

    def warn(self, step: int, message: str) -> None:
        self.warnings.append((step, message))

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        self.events.append(f"checkpoint {step}")
        folder = self.folder / f"step_{step}"
        folder.mkdir(parents=True)
        save(folder)


def one_winner(group: Group, sample: int) -> float:
    return float(sample == 0)


def all_equal(group: Group, sample: int) -> float:
    return 0.1


SIZES = BatchSizes(None, 3, 200, 16)
EVAL = SamplingParams(temperature=0, max_new_tokens=4)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """The masters and their moments, copied."""
    return {name: tensor.detach().clone() for name, tensor in trainer.strategy.held["policy"].state().items()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

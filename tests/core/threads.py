"""Ranks as threads of one process, and a strategy of small tables that learns on them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightrft_core import Batch, CriticOutput, Metrics, PolicyOutput, StepReport

T = TypeVar("T")
R = TypeVar("R")
VOCAB = 300


class ThreadRank:
    """One of the ranks that meet at a barrier; what it gathers is copied, as between processes."""

    def __init__(self, rank: int, met: Barrier, brought: list[bytes]) -> None:
        self.rank, self.world_size = rank, met.parties
        self.learner, self.learners = rank, met.parties
        self.met, self.brought = met, brought

    def gather(self, items: Sequence[T]) -> list[T]:
        self.brought[self.rank] = pickle.dumps(list(items))
        self.met.wait()
        together = [*chain.from_iterable(map(pickle.loads, self.brought))]
        self.met.wait()
        return together

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        whole = Metrics()
        for part in self.gather([metrics]):
            whole.merge(part)
        return whole.result()


def on_ranks(world_size: int, work: Callable[[ThreadRank], R]) -> list[R]:
    """What every rank made of the work. Raises what one of them raised, so that no other waits for it in vain."""
    met, brought = Barrier(world_size, timeout=240), [b""] * world_size

    def run(rank: int) -> R:
        try:
            return work(ThreadRank(rank, met, brought))
        except BaseException:
            met.abort()
            raise

    with ThreadPoolExecutor(world_size) as pool:
        results = [pool.submit(run, rank) for rank in range(world_size)]
    errors = [error for result in results if (error := result.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    return [result.result() for result in results]


class Table(nn.Module):
    """A policy, or a critic, that sees the last token alone, in float64."""

    def __init__(self, seed: int, *, critic: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        columns = 1 if critic else VOCAB
        self.table = nn.Parameter(torch.randn(VOCAB, columns, generator=generator, dtype=torch.float64))
        self.critic = critic

    def forward(self, batch: Batch) -> PolicyOutput | CriticOutput:
        before = torch.cat([batch.prompt_ids[batch.prompt_index, -1:], batch.response_ids[:, :-1]], 1)
        rows = self.table[before[batch.loss_mask]]
        if self.critic:
            return CriticOutput(rows[:, 0])
        law = rows.log_softmax(-1)
        tokens = batch.response_ids[batch.loss_mask]
        return PolicyOutput(law.gather(-1, tokens[:, None])[:, 0], -(law.exp() * law).sum(-1).detach())


class Tables:
    """A strategy of tables: plain gradient descent by what all ranks' gradients add up to, once for each learner."""

    def __init__(self, ranks: ThreadRank, learning_rate: float = 1.0) -> None:
        self.ranks, self.learning_rate = ranks, learning_rate
        self.rank, self.world_size = ranks.rank, ranks.world_size
        self.learner, self.learners = ranks.learner, ranks.learners
        self.gather, self.reduce = ranks.gather, ranks.reduce
        self.models = {"policy": Table(1), "reference": Table(2), "teacher": Table(4), "critic": Table(3, critic=True)}
        self.batches: list[int] = []

    def forward(self, model: str, batches: Sequence[Batch]) -> list[Any]:
        self.check_equally_many(batches)
        with torch.no_grad():
            return [self.models[model](batch) for batch in batches]

    def train_step(self, model: str, batches: Sequence[Batch], loss: Any) -> StepReport:
        self.check_equally_many(batches)
        self.batches.append(len(batches))
        weights, total, metrics = self.models[model].table, 0.0, Metrics()
        weights.grad = torch.zeros_like(weights)
        for batch in batches:
            value, numbers = loss(self.models[model](batch), batch)
            value.backward()
            total += value.item()
            metrics.merge(numbers)
        parts: list[tuple[float, Tensor]] = self.gather([(total, weights.grad)])[:: self.world_size // self.learners]
        gradient = torch.stack([part for _, part in parts]).sum(0)
        with torch.no_grad():
            weights -= self.learning_rate * gradient
        return StepReport(sum(total for total, _ in parts), float(gradient.norm()), self.learning_rate, metrics)

    def check_equally_many(self, batches: Sequence[Batch]) -> None:
        assert len(set(self.gather([len(batches)]))) == 1, "ranks of equally many batches never wait in vain"

    def skip_step(self, model: str) -> None:
        self.gather([model])

    def save(self, folder: Path) -> None:
        torch.save(self.models["policy"].table, folder / "policy.pt")

"""Runs in float16 that test_scaling.py compares: every rank calls each function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightrft_core import ALGORITHMS, Batch, BatchSizes, Metrics, OneRank, Ranks
from lightrft_core.experience import make_experience
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.full import full
from lightrft_strategy.training.held import Hold
from lightrft_strategy.training.scaling import LossScale

from .recorded import HOLDS, Case, Outcome, a_batch, language_model, plain_loss, recorded, step, weights

FITTING = 2**8
"""A loss scale that the gradients of the recorded steps fit with: weights are large here."""


@contextmanager
def able() -> Iterator[None]:
    """Within, DeepSpeed takes this processor for one that multiplies float16 natively."""
    from deepspeed.accelerator import get_accelerator

    accelerator: Any = get_accelerator()
    accelerator.is_fp16_supported = lambda: True
    try:
        yield
    finally:
        del accelerator.is_fp16_supported


def strategy(hold: Hold, ranks: Ranks, *, seed: int = 0, fp16: bool = True, **options: Any) -> TorchStrategy:
    config = OptimiserConfig(3e-4, 24, "cosine", warmup_ratio=0.1, weight_decay=0.1)
    models = {"policy": LanguageActor(language_model(seed=seed))}
    ours = TorchStrategy(models, {"policy": config}, fp16=fp16, hold=hold, ranks=ranks, **options)
    ours.scales = {name: LossScale(FITTING) for name in ours.scales}
    return ours


def curve(case: Case, *, fp16: bool = False, hold: Hold | None = None) -> Outcome:
    """Loss and gradient norm of twenty recorded steps."""
    ranks: Ranks = OneRank() if case.hold == "one" else TorchRanks()
    ours, algorithm = strategy(hold or HOLDS[case.hold], ranks, fp16=fp16), replace(ALGORITHMS["grpo"], kl_coef=0.0)
    outcome = Outcome([], [], {}, [])
    for number in range(5):
        steps, _ = make_experience(recorded(number), algorithm, ours, BatchSizes(5, case.micro_batch, 60, 8))
        for batches in steps:
            step(ours, batches, algorithm.losses(), outcome)
    outcome.weights.update(weights(ours))
    return outcome


def unscaled_gradients(scale: int | None) -> dict[str, Tensor]:
    """The gradient that AdamW first sees, from its first moment; in float32, or in float16 at a loss scale."""
    ours = strategy(HOLDS["one"], OneRank(), fp16=scale is not None)
    held = ours.held["policy"]
    held.config = replace(held.config, max_norm=0.0)  # type: ignore[attr-defined]
    if scale is not None:
        ours.scales["policy"] = LossScale(scale)
    assert ours.train_step("policy", [a_batch(1), a_batch(2)], plain_loss).fault == ""
    state = held.state()
    kind = "adam.exp_avg."
    return {name.removeprefix(kind): state[name] / 0.1 for name in state if name.startswith(kind)}


def masters(ours: TorchStrategy) -> dict[str, Tensor]:
    return {name: full(tensor).clone() for name, tensor in ours.held["policy"].state().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def overflowing(hold: Hold | str) -> dict[str, Any]:
    """Five steps, in the second and third of which one rank's gradient overflows, beside three that saw none of it."""
    ranks: Ranks = OneRank() if hold == "one" else TorchRanks()
    kind = HOLDS[hold] if isinstance(hold, str) else hold
    ours, other = strategy(kind, ranks), strategy(kind, ranks)
    notes: dict[str, Any] = {"scales": [], "overflowed": [], "faults": [], "unmoved": []}
    last = ranks.rank == ranks.world_size - 1
    for number, bad in enumerate([False, True, True, False, False]):
        before, batch = masters(ours), a_batch(10 * number + ranks.rank)
        report = ours.train_step("policy", [batch], infinite if bad and last else plain_loss)
        notes["scales"].append(int(report.loss_scale or 0))
        notes["overflowed"].append(report.overflowed)
        notes["faults"].append(report.fault)
        notes["unmoved"].append(same(before, masters(ours)))
        if bad:
            other.skip_step("policy")
        else:
            other.scales["policy"] = LossScale(int(report.loss_scale or 0))
            other.train_step("policy", [batch], plain_loss)
    return notes | {"same": same(masters(ours), masters(other))}


def infinite(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
    """A loss whose value is fine and whose gradient float16 cannot hold."""
    value, metrics = plain_loss(output, batch)
    steep = (output.logprobs * 1e9).sum()
    return value + steep - steep.detach(), metrics


def resuming(hold: str, folder: Path) -> tuple[bool, bool, LossScale]:
    """(whether loading changes weights, whether the rest has the same bits as without a break, the loss scale)."""
    ranks: Ranks = OneRank() if hold == "one" else TorchRanks()
    through, resumed = strategy(HOLDS[hold], ranks), strategy(HOLDS[hold], ranks, seed=7)

    def go(ours: TorchStrategy, steps: range) -> None:
        for number in steps:
            loss = infinite if number == 1 else plain_loss
            ours.train_step("policy", [a_batch(10 * number + ranks.rank)], loss)

    go(through, range(3))
    through.save(folder)
    moved = not same(masters(resumed), masters(through))
    resumed.load(folder)
    go(through, range(3, 4))
    go(resumed, range(3, 4))
    equal = same(masters(resumed), masters(through)) and resumed.scales == through.scales
    return moved, equal, resumed.scales["policy"]

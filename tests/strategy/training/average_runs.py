"""Runs that keep a moving average of the weights, which test_average.py compares: every rank calls each function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed as dist
from torch import Tensor

from lightrft_core import Batch, Metrics, OneRank, Ranks
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import Hold, OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.full import full, full_tensors

from .recorded import a_batch, language_model, plain_loss

BETA = 0.8
CONFIG = OptimiserConfig(2e-2, 20, weight_decay=0.1)
Arrays = dict[str, numpy.ndarray]


def built(hold: Hold, *, seed: int = 0, **options: Any) -> TorchStrategy:
    ranks: Ranks = TorchRanks() if dist.is_initialized() else OneRank()
    models = {"policy": LanguageActor(language_model(seed=seed))}
    averages = {"policy": BETA}
    return TorchStrategy(models, {"policy": CONFIG}, hold=hold, ranks=ranks, averages=averages, **options)


def kept(ours: TorchStrategy, kind: str) -> Arrays:
    """Whole weights, or their averages, out of what a checkpoint would hold."""
    state = ours._state("policy")
    return {name.removeprefix(kind): full(state[name]).clone().numpy() for name in state if name.startswith(kind)}


def bad(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
    value, metrics = plain_loss(output, batch)
    return value + (output.logprobs * 0).clamp(min=0).sqrt().sum(), metrics


def go(ours: TorchStrategy, steps: range) -> list[Arrays]:
    """Masters after each step; in the fourth the gradient is not finite."""
    masters = []
    for number in steps:
        batches = [a_batch(10 * number + part) for part in range(4)]
        mine = batches[ours.rank :: ours.world_size]
        report = ours.train_step("policy", mine, bad if number == 3 else plain_loss)
        assert bool(report.fault) == (number == 3)
        masters.append(kept(ours, "master."))
    return masters


def averaging(hold: Hold, bf16: bool = False) -> tuple[list[Arrays], Arrays, dict[str, bool]]:
    """(masters before and after each of six steps, their average, what the module held within and after in_place)."""
    ours = built(hold, bf16=bf16)
    masters = [kept(ours, "master."), *go(ours, range(6))]
    average = kept(ours, "ema.")
    before = module_weights(ours)
    with ours.averages["policy"].in_place():
        within = module_weights(ours)
    rounded = {name: torch.from_numpy(values) for name, values in average.items()}
    if bf16:
        rounded = {name: values.bfloat16().float() for name, values in rounded.items()}
    notes = {
        "within": all(torch.equal(within[name], values) for name, values in rounded.items()),
        "after": all(torch.equal(value, before[name]) for name, value in module_weights(ours).items()),
        "average after": all(numpy.array_equal(average[name], value) for name, value in kept(ours, "ema.").items()),
    }
    go(ours, range(6, 7))
    return masters, average, notes


def module_weights(ours: TorchStrategy) -> dict[str, Tensor]:
    return {name: tensor.clone().float() for name, tensor in full_tensors(ours.held["policy"].module)}


def resuming(hold: Hold, folder: Path) -> tuple[bool, bool]:
    """(whether loading changes the average, whether it then has the bits of one that went through)."""
    through, resumed = built(hold), built(hold, seed=7)
    go(through, range(2))
    through.save(folder)
    moved = not same(kept(through, "ema."), kept(resumed, "ema."))
    resumed.load(folder)
    go(through, range(2, 4))
    go(resumed, range(2, 4))
    return moved, same(kept(through, "ema."), kept(resumed, "ema."))


def part(hold: Hold, steps: range, source: Path | None, target: Path) -> Arrays:
    """The average after steps of a run that goes on from a checkpoint, if there is one, and leaves another."""
    ours = built(hold, seed=0 if source is None else 7)
    if source is not None:
        ours.load(source)
    go(ours, steps)
    ours.save(target)
    return kept(ours, "ema.")


def share(hold: Hold) -> float:
    """How much of the averaged weights this rank keeps."""
    ours = built(hold)
    mine = sum(shard.numel() for shard in ours.averages["policy"].shards)
    return mine / sum(weight.numel() for weight in language_model().parameters())


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(numpy.array_equal(one[name], other[name]) for name in one)

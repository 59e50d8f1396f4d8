"""What the objective and advantage code costs, beside the model's forward and backward passes and its update.

    uv run python benchmarks/objective_cost.py --repeats 5

samples one batch of the quick start from SmolLM2-135M, takes training steps on it under every row of the table, and
writes docs/benchmarks/objective_cost.json. The share is of the optimise phase alone; sampling would only dilute it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch import Tensor

from lightrft_apps import RLConfig
from lightrft_apps.config.commands.quickstart import DEFAULTS
from lightrft_apps.models import compose, loading
from lightrft_core import ALGORITHMS, Algorithm, Batch, BatchSizes, Group, Metrics, OneRank, Verdict, make_experience
from lightrft_core import experience as experience_module
from lightrft_core.updates import update
from lightrft_strategy.data import load_prompts
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.generation import end_tokens

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "objective_cost.json"

PARTS = ("advantages", "loss")


@dataclass
class Clock:
    """Seconds spent in the code under question."""

    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def measure(self, part: str) -> Any:
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.seconds += spent
        self.parts[part] = self.parts.get(part, 0.0) + spent


def timed_loss(loss: Callable[..., tuple[Tensor, Metrics]], clock: Clock) -> Callable[..., tuple[Tensor, Metrics]]:
    """The loss, with its own forward and backward pass timed apart from the model's: on leaves in the model's place."""

    def run(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
        names = [name for name in ("logprobs", "entropy", "values") if hasattr(output, name)]
        leaves = {name: getattr(output, name).detach().requires_grad_() for name in names}
        with clock.measure("loss"):
            value, metrics = loss(replace(output, **leaves), batch)
            gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        pairs = [(getattr(output, name), grad) for name, grad in zip(names, gradients, strict=True) if grad is not None]
        through = sum(((real * grad).sum() for real, grad in pairs), torch.zeros(()))
        return through + (value - through).detach(), metrics

    return run


def sample_batch(config: RLConfig, model: Any, tokenizer: Any) -> list[Group]:
    """One batch of real answers, half of each group called right so that every row has something to learn."""
    prompts = load_prompts(compose.prompt_spec(config.data), tokenizer).sources[0][: config.rollout.rollout_batch_size]
    engine = EmbeddedEngine(
        model,
        lambda rows: tokenizer.batch_decode(rows, skip_special_tokens=True),
        eos_token_ids=end_tokens(model, tokenizer),
        seed=1,
    )
    groups = engine.generate(prompts, compose.train_sampling(config), step=1)
    for group in groups:
        for rollout in group.rollouts:
            rollout.reward = float(rollout.sample % 2)
            rollout.verdict = Verdict(rollout.reward, accuracy=rollout.reward)
    return groups


def one_step(algorithm: Algorithm, groups: Sequence[Group], strategy: Any, sizes: BatchSizes) -> tuple[float, Clock]:
    """Seconds of a whole optimise phase, and of the code under question within it."""
    clock, estimate = Clock(), experience_module.estimate_advantages

    def timed_estimate(*args: Any) -> None:
        with clock.measure("advantages"):
            estimate(*args)

    experience_module.estimate_advantages = timed_estimate
    start = time.perf_counter()
    try:
        steps, metrics = make_experience(groups, algorithm, strategy, sizes)
        for batches in steps:
            for model, loss in algorithm.losses().items():
                assert not update(strategy, model, batches, timed_loss(loss, clock), metrics)
    finally:
        experience_module.estimate_advantages = estimate
    return time.perf_counter() - start, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    flags = DEFAULTS | {"output_dir": "unused", "init_kl_coef": 0.01, "train_batch_size": 64}
    config = RLConfig.create(**flags | {"teacher_pretrain": "smollm2", "teacher_kl_coef": 0.01, "algorithm": "ppo"})
    senses, model = loading.load_senses(config.model), loading.load_model(config.model)
    everything = replace(ALGORITHMS["ppo"], teacher_kl_coef=0.01)
    strategy = compose.build_strategy(config, everything, model, senses, OneRank(), steps_per_batch=2, batches=1000)
    groups = sample_batch(config, model, senses.tokenizer)
    train = config.train
    sizes = BatchSizes(64, train.micro_train_batch_size, train.max_tokens_per_micro_batch, 16)
    rows: dict[str, Any] = {}
    for name, algorithm in ALGORITHMS.items():
        one_step(algorithm, groups, strategy, sizes)
        measured = [one_step(algorithm, groups, strategy, sizes) for _ in range(repeats)]
        shares = [clock.seconds / total for total, clock in measured]
        rows[name] = {
            "share_median": statistics.median(shares),
            "share_min": min(shares),
            "share_max": max(shares),
            "milliseconds": {part: 1e3 * statistics.median(c.parts[part] for _, c in measured) for part in PARTS},
        }
        print(f"{name:<22} {rows[name]['share_median']:.3%}  [{min(shares):.3%}, {max(shares):.3%}]")
    report = {
        "what": "seconds in estimate_advantages and in the loss (its own forward and backward) / seconds of the phase",
        "batch": "16 prompts x 8 answers of up to 16 tokens, 2 optimiser steps, bf16, SmolLM2-135M",
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "rows": rows,
    }
    OUT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

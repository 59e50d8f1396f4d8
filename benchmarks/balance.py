"""How evenly an optimiser step is dealt to 8 to 4096 ranks: simulated, by what sequences cost.

    uv run python benchmarks/balance.py --seeds 1 2 3

writes docs/benchmarks/balance.json. A ratio of 1.05 means that the slowest rank needs 5% longer than the lower bound:
all work evenly spread, or the largest sequence alone. Lengths are lognormal: text prompts of median 180 tokens;
answers of median 1100, some prompts drawing longer ones than others, up to 8192. In mixed batches half of the prompts
carry 256 to 4096 media tokens. No model runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import torch

from lightrft_core import TrainingSequence
from lightrft_core.partition import Cost, contiguous, lower_bound, makespan, partition, work

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "balance.json"
COST = Cost()
RANKS = (8, 64, 512, 4096)
ANSWERS = 16
PROMPTS_OF_A_STEP = {"2 prompts a rank": lambda ranks: 2 * ranks, "1024 prompts": lambda _: 1024}
NOTHING = torch.zeros(0)


def batch(seed: int, prompts: int, mixed: bool) -> list[TrainingSequence]:
    """Groups of answers with lengths alone; a group's prompt is its number, repeated."""
    chance = random.Random(seed)
    sequences: list[TrainingSequence] = []
    for group in range(prompts):
        prompt = int(min(2048, max(32, chance.lognormvariate(5.2, 0.6))))
        prompt += chance.randint(256, 4096) if mixed and chance.random() < 0.5 else 0
        median, prompt_ids = chance.lognormvariate(7.0, 0.5), (group,) * prompt
        lengths = [int(min(8192, max(8, median * chance.lognormvariate(0, 0.5)))) for _ in range(ANSWERS)]
        sequences += [TrainingSequence(prompt_ids, range(n), [], 0.0, NOTHING, NOTHING) for n in lengths]
    return sequences


def split_bound(sequences: Sequence[TrainingSequence], ranks: int) -> float:
    """A lower bound that knows that a group too large for a rank pays for its prompt on each that it needs."""
    parts = []
    for prompt, members in groupby(sequences, key=lambda sequence: sequence.prompt_ids):
        parts.append((COST.of(len(prompt)), sum(COST.of(len(s.response_ids), len(prompt)) for s in members)))
    low = lower_bound(sequences, [1.0] * ranks, COST, True)
    high = 2 * low
    while high - low > 1e-5 * low:
        middle = (low + high) / 2
        if sum(a + p * ceil(a / (middle - p)) for p, a in parts) > middle * ranks:
            low = middle
        else:
            high = middle
    return low


def measure(seed: int, ranks: int, prompts: int, mixed: bool, shared: bool, slow: bool) -> dict[str, float]:
    """slow: every fourth rank does 0.6 of the work of the others in the same time, and the partition is told."""
    sequences = batch(seed, prompts, mixed)
    speeds = [0.6 if slow and rank % 4 == 0 else 1.0 for rank in range(ranks)]
    start = time.process_time()
    shares = partition(sequences, ranks, cost=COST, shared_prompts=shared, speeds=speeds)
    seconds = time.process_time() - start
    bound = lower_bound(sequences, speeds, COST, shared)
    done = makespan(shares, speeds, COST, shared)
    naive = makespan(contiguous(sequences, ranks), speeds, COST, shared)
    numbers = {
        "over_bound": done / bound,
        "naive_over_bound": naive / bound,
        "over_naive": done / naive,
        "work_by_split_groups": sum(work(share, COST, shared) for share in shares) / work(sequences, COST, shared) - 1,
        "processor_seconds": seconds,
    }
    if shared and not slow:
        numbers["over_split_bound"] = done / split_bound(sequences, ranks)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    arguments = parser.parse_args()
    cases: list[dict[str, Any]] = []
    load = os.getloadavg()[0]
    kinds = [(mixed, shared, False) for mixed in (False, True) for shared in (True, False)] + [(True, True, True)]
    for size, prompts in PROMPTS_OF_A_STEP.items():
        for mixed, shared, slow in kinds:
            for ranks in arguments.ranks:
                runs = [measure(seed, ranks, prompts(ranks), mixed, shared, slow) for seed in arguments.seeds]
                numbers = {
                    name: {"mean": statistics.mean(run[name] for run in runs), "worst": max(run[name] for run in runs)}
                    for name in runs[0]
                }
                case = {
                    "batch": "mixed" if mixed else "text",
                    "prompts_of_a_step": size,
                    "shared_prompts": shared,
                    "a_quarter_of_the_ranks_at_0.6_speed": slow,
                    "ranks": ranks,
                }
                cases.append(case | numbers)
                shown = [f"{name} {value['mean']:.4f} (worst {value['worst']:.4f})" for name, value in numbers.items()]
                print(*case.values(), *shown, sep=", ", flush=True)
    report = {
        "what": "simulated time of the slowest rank of an optimiser step, over the lower bound and over contiguous "
        "shares of equally many sequences; processor_seconds: of the partition itself",
        "answers_a_prompt": ANSWERS,
        "cost": {"linear": COST.linear, "quadratic": COST.quadratic},
        "seeds": arguments.seeds,
        "load_average": {"before": load, "after": os.getloadavg()[0]},
        "machine": platform.machine(),
        "cases": cases,
    }
    OUT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Packed rows against padded micro-batches on answers whose lengths are as spread as sampled ones.

    uv run python benchmarks/packing.py --repeats 5

draws prompts and answers of log-normal lengths, cuts them into micro-batches under one token budget, padded and packed,
takes forward and backward passes over all of them, and writes docs/benchmarks/packing.json. Both share prompts; tokens
a second count real tokens alone.
"""

from __future__ import annotations

import argparse
import os
import random

import torch
from side_by_side import passes, random_model, ratios, seconds, write

from lightrft_core import TrainingSequence, collate
from lightrft_core.batching import micro_batches, padded_tokens
from lightrft_strategy.language import LanguageActor

PROMPT, ANSWER = (80, 0.5, 16, 320), (90, 0.9, 4, 512)
"""Of a length: the median, the deviation of its logarithm, the least and the most."""


def length(rng: random.Random, median: float, deviation: float, least: int, most: int) -> int:
    return min(most, max(least, round(median * rng.lognormvariate(0, deviation))))


def sampled(prompts: int, answers: int, vocabulary: int) -> list[TrainingSequence]:
    rng, sequences = random.Random(7), []
    for _ in range(prompts):
        prompt = tuple(rng.randrange(vocabulary) for _ in range(length(rng, *PROMPT)))
        for _ in range(answers):
            ids = [rng.randrange(vocabulary) for _ in range(length(rng, *ANSWER))]
            zeros = torch.zeros(len(ids))
            sequences.append(TrainingSequence(prompt, ids, [True] * len(ids), 1.0, zeros, zeros))
    return sequences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--budget", type=int, default=4096)
    args = parser.parse_args()
    load, model = os.getloadavg(), random_model(args.layers, args.vocabulary)
    sequences = sampled(args.prompts, args.answers, args.vocabulary)
    plans = {
        name: micro_batches(sequences, token_budget=args.budget, max_sequences=len(sequences), packing=packing)
        for name, packing in (("padded", False), ("packed", True))
    }
    sides = {
        name: passes(LanguageActor(model, packing=name == "packed"), [collate(part) for part in plan])
        for name, plan in plans.items()
    }
    real = sum(padded_tokens(part, packing=True) for part in plans["packed"])
    times = seconds(sides, args.repeats)
    write(
        "packing.json",
        {
            "what": "forward and backward passes over all micro-batches, packed and padded, float32",
            "layers": args.layers,
            "vocabulary": args.vocabulary,
            "repeats": args.repeats,
            "load_average_before": load,
            "sequences": len(sequences),
            "answer_lengths": sorted(len(sequence.response_ids) for sequence in sequences),
            "token_budget": args.budget,
            "micro_batches": {name: len(plan) for name, plan in plans.items()},
            "real_tokens": real,
            "tokens_with_padding": sum(map(padded_tokens, plans["padded"])),
            "processor_seconds": times,
            "real_tokens_per_processor_second": {
                name: [real / value for value in values] for name, values in times.items()
            },
            "packed_over_padded": ratios(times["padded"], times["packed"]),
        },
    )


if __name__ == "__main__":
    main()

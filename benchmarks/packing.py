"""Packed rows, dealt over ranks by work, against padded micro-batches of contiguous shares, on sampled lengths.

    uv run python benchmarks/packing.py --repeats 3

lets SmolLM2 answer questions, whose lengths are then what a run would have to cut; deals the answers over one rank and
over several, each rank's into micro-batches under one token budget; takes a forward and a backward pass over them all,
one rank after another, in a model of SmolLM2's shape with fewer layers; and writes docs/benchmarks/packing.json. A step
takes as long as its slowest rank. Both sides share prompts; tokens a second count real tokens alone.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
from side_by_side import SHAPE, passes, random_model, ratios, seconds, write
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightrft_core import Batch, BatchSizes, Prompt, SamplingParams, TrainingSequence, collate
from lightrft_core.batching import micro_batches, padded_tokens
from lightrft_core.partition import Cost, contiguous
from lightrft_core.plan import deal
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.smollm2 import smollm2

QUESTIONS = Path(__file__).parent.parent / "examples" / "data" / "gsm8k_form.jsonl"


def sampled(prompts: int, answers: int, longest: int) -> list[TrainingSequence]:
    """What SmolLM2 answers to the first questions at temperature 1."""
    folder = smollm2()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = []
    for number, line in enumerate(QUESTIONS.read_text().splitlines()[:prompts]):
        chat = [{"role": "user", "content": json.loads(line)["question"]}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        asked.append(Prompt(str(number), (), "", tuple(ids)))
    engine = EmbeddedEngine(model, tokenizer.batch_decode, eos_token_ids=[tokenizer.eos_token_id], seed=1)
    groups = engine.generate(asked, SamplingParams(n=answers, max_new_tokens=longest, temperature=1.0), step=1)
    sequences = []
    for group in groups:
        for rollout in group.rollouts:
            ids, zeros = rollout.token_ids, torch.zeros(len(rollout.token_ids))
            sequences.append(TrainingSequence(group.prompt.token_ids, ids, [True] * len(ids), 1.0, zeros, zeros))
    return sequences


def dealt(sequences: list[TrainingSequence], ranks: int, layers: int, budget: int, packing: bool) -> list[list[Batch]]:
    """The micro-batches of each rank: packed and dealt by work as in a run, or padded and dealt in order."""
    most = len(sequences)
    if packing:
        sizes = BatchSizes(None, most, budget, budget, packing=True, cost=Cost.of_shape(SHAPE["hidden_size"], layers))
        plans = deal(sequences, sizes, ranks)
    else:
        shares = contiguous(sequences, ranks)
        plans = [micro_batches(share, token_budget=budget, max_sequences=most) for share in shares]
    return [[collate(part) for part in plan] for plan in plans]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()
    load, sequences = os.getloadavg(), sampled(args.prompts, args.answers, args.longest)
    model, real = random_model(args.layers, args.vocabulary), padded_tokens(sequences, packing=True)
    actors = {"padded": LanguageActor(model, packing=False), "packed": LanguageActor(model, packing=True)}
    steps = {}
    for ranks in args.ranks:
        shares = {name: dealt(sequences, ranks, args.layers, args.budget, packing=name == "packed") for name in actors}
        sides = {
            f"{name} {rank}": passes(actor, share)
            for name, actor in actors.items()
            for rank, share in enumerate(shares[name])
        }
        times = seconds(sides, args.repeats)
        by_rank = {name: [times[f"{name} {rank}"] for rank in range(ranks)] for name in actors}
        slowest = {name: [max(turn) for turn in zip(*each, strict=True)] for name, each in by_rank.items()}
        steps[f"{ranks} ranks"] = {
            "micro_batches": {name: [len(batches) for batches in share] for name, share in shares.items()},
            "processor_seconds_by_rank": by_rank,
            "real_tokens_per_second_of_the_slowest_rank": {
                name: [real / value for value in values] for name, values in slowest.items()
            },
            "packed_over_padded": ratios(slowest["padded"], slowest["packed"]),
        }
    write(
        "packing.json",
        {
            "what": "forward and backward passes over all micro-batches, packed and dealt over ranks by work, padded "
            "and dealt in order; answers sampled by SmolLM2, computed in float32",
            "layers": args.layers,
            "vocabulary": args.vocabulary,
            "repeats": args.repeats,
            "load_average_before": load,
            "sequences": len(sequences),
            "prompt_lengths": sorted({len(sequence.prompt_ids) for sequence in sequences}),
            "answer_lengths": sorted(len(sequence.response_ids) for sequence in sequences),
            "token_budget": args.budget,
            "real_tokens": real,
            "steps": steps,
        },
    )


if __name__ == "__main__":
    main()

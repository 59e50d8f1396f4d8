"""What each of several ranks does for test_sft_ranks.py: a few steps of supervised fine-tuning."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import BatchSizes, Example, Likelihood, OneRank, Schedule, example_batches
from lightrft_strategy.data import ExampleStream
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.sequence import sequence_group
from lightrft_strategy.sft import SupervisedTrainer
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.zero import Zero
from lightrft_strategy.ulysses import Ulysses

from ...recorder import Recorder

HOLDS: dict[str, Hold] = {"whole": Whole, "fsdp": FullyShard(), "zero2": Zero(2), "zero3": Zero(3)}


def examples() -> list[Example]:
    """Of very different lengths, with gaps in what is learnt."""
    draw, made = torch.Generator().manual_seed(3), []
    for number in range(9):
        length = 3 + 5 * (number % 4)
        ids = torch.randint(0, 50, (length,), generator=draw).tolist()
        mask = [False, *(torch.rand(length - 1, generator=draw) < 0.7).tolist()]
        made.append(Example(f"row:{number}", ids, [*mask[:-1], True]))
    return made


def tuned(kind: str = "whole", packing: bool = False, per_learner: int = 1) -> tuple[list[dict[str, float]], Any]:
    """(metrics of each step, weights) of three steps on the ranks there are, of one process without a group."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    several = torch.distributed.is_initialized()
    if several:
        os.environ["WORLD_SIZE"] = str(torch.distributed.get_world_size())
    ranks = TorchRanks(per_learner) if several else OneRank()
    actor = LanguageActor(
        AutoModelForCausalLM.from_config(config),
        packing=packing,
        sharing=False,
        sequence_group=sequence_group(Ulysses, ranks, timedelta(seconds=60)),
    )
    strategy = TorchStrategy(
        {"policy": actor},
        {"policy": OptimiserConfig(learning_rate=1e-2, total_steps=3)},
        hold=HOLDS[kind],
        ranks=ranks,
        timed=kind != "zero3",
    )
    recorder, rows = Recorder(), examples()
    trainer = SupervisedTrainer(
        strategy=strategy,
        examples=ExampleStream([rows], None, 6, 2, 5),
        cut=example_batches,
        objective=Likelihood(),
        recorder=recorder,
        sizes=BatchSizes(6, 4, 40, 64, shared_prompts=False, packing=packing),
        schedule=Schedule(eval_steps=1),
        held_out=rows[:5],
    )
    trainer.run()
    return recorder.lines, {name: tensor.clone() for name, tensor in full_tensors(strategy.held["policy"].module)}

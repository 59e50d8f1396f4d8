"""Runs of compiled layers, for test_compiling: the same optimiser steps as without."""

from __future__ import annotations

from typing import Any

import torch

from lightrft_core import ALGORITHMS, BatchSizes, OneRank, Ranks
from lightrft_core.experience import make_experience
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.compiling import compile_layers

from .recorded import HOLDS, exactly, language_model, recorded, weights


def compiled_run(hold: str, backend: Any, packing: bool, checkpointing: bool = False) -> tuple[list[float], Any]:
    """(losses and gradient norms, final weights) of some optimiser steps in float64; backend None: not compiled."""
    torch._dynamo.reset()
    ranks: Ranks = OneRank() if hold == "one" else TorchRanks()
    model = exactly(language_model(num_hidden_layers=3), torch.float64)
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    actor = LanguageActor(model, packing=packing, sharing=packing)
    if backend is not None:
        compile_layers(actor, backend)
    strategy = TorchStrategy({"policy": actor}, {"policy": OptimiserConfig(3e-3, 24)}, hold=HOLDS[hold], ranks=ranks)
    algorithm = ALGORITHMS["reinforce"]
    sizes = BatchSizes(10, 4, 60, 8, shared_prompts=packing, packing=packing)
    numbers: list[float] = []
    for number in range(2):
        steps, _ = make_experience(recorded(number), algorithm, strategy, sizes)
        for batches in steps:
            report = strategy.train_step("policy", batches, algorithm.losses()["policy"])
            assert report.fault == ""
            numbers += [report.loss, report.grad_norm]
    return numbers, weights(strategy)

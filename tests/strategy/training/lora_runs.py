"""A run with an adapter and its reference, which every rank calls."""

from __future__ import annotations

from typing import Any

import numpy

from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.lora import AdapterOff, add_adapter, sharing
from lightrft_strategy.training import Hold, OptimiserConfig, TorchStrategy

from .zero_runs import Arrays, dealt, language_model, objective, ranks, state


def adapter_run(hold: Hold, double: bool) -> Arrays:
    """Four steps, the reference asked before each; what it said, losses, masters and moments, and what is published."""
    model = language_model()
    if double:
        model.double()
    add_adapter(model, rank=3, alpha=6, seed=4)
    actor = LanguageActor(model)
    models = {"policy": actor, "reference": AdapterOff(actor)}
    ours = TorchStrategy(models, {"policy": OptimiserConfig(2e-2, 4)}, hold=sharing(hold), ranks=ranks())
    said: list[float] = []
    losses: list[float] = []
    for step in range(4):
        batches = dealt(step, ours.ranks, 8)
        for output in ours.forward("reference", batches):
            said += ours.gather([output.logprobs.double().numpy()])
        losses.append(ours.train_step("policy", batches, objective).loss)
    published: dict[str, Any] = {
        each.names[0]: each.tensor.clone() for each in ModelWeights(model, ours.held["policy"]).tensors()
    }
    arrays = {name: tensor.detach().numpy() for name, tensor in (state(ours) | published).items()}
    return arrays | {"loss": numpy.array(losses), "reference": numpy.concatenate([*map(numpy.atleast_1d, said)])}

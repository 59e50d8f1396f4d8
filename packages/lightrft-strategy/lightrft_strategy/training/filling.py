"""The weights of a model that ranks hold before it has any: each rank reads its own part of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightrft_strategy.devices import device
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.held import Held
from lightrft_strategy.training.meta import empty_language_model, load_shards, materialise


def fill(held: Held) -> None:
    """Read what this rank holds of an empty_language_model in `held.module.model`, from where its config came from.

    Before a checkpoint is loaded. Raises ValueError as load_shards does, and as the module's class does of a model with
    weights: of the first layers, in float32, so that no rank holds them all.
    """
    module: Any = held.module
    pretrain = module.model.name_or_path
    if isinstance(module, LanguageActor):
        balance = module.routers is not None
        LanguageActor(first_layers(pretrain), reader=module.reader, packing=module.packing, balance=balance)
    elif isinstance(module, LanguageCritic):
        LanguageCritic(first_layers(pretrain), reader=module.reader, packing=module.packing)
    load_shards(module.model, pretrain)


def first_layers(pretrain: str | Path) -> Any:
    """An empty_language_model's first layers with their weights, in float32: as many as have one of every kind."""
    model = empty_language_model(pretrain)
    weights = [[name for name, _ in layer.named_parameters()] for layer in layers(model)]
    kinds = [*zip(getattr(model.config, "layer_types", None) or [""] * len(weights), weights, strict=True)]
    first = empty_language_model(pretrain, layers=1 + max(map(kinds.index, kinds)))
    materialise(first, device())
    load_shards(first, pretrain)
    return first.eval()

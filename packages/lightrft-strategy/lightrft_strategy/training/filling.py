"""Weights for a model that was taken onto the ranks without any."""

from __future__ import annotations

from typing import Any

from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training.compiling import uncompiled
from lightrft_strategy.training.held import Held
from lightrft_strategy.training.meta import load_shards


def fill(held: Held) -> None:
    """Read what this rank holds of an empty_language_model in `held.module.model`, from where its config came from.

    Every rank calls it, before a checkpoint is loaded. Raises ValueError as load_shards and require_exact do.
    """
    module: Any = held.module
    load_shards(module.model, module.model.name_or_path)
    if isinstance(module, LanguageActor | LanguageCritic):
        with uncompiled(module):
            held.gathered(module.require_exact)

"""What of a loaded model is trained, as the flags say: its weights or an adapter, and all but what is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightrft_apps.config import ConfigError, LearningConfig
from lightrft_apps.config.checks.lora import names_in
from lightrft_apps.config.sections.lora import ALL_LINEAR
from lightrft_apps.models.precision import compute_dtype
from lightrft_strategy.four_bit import quantise
from lightrft_strategy.freezing import freeze
from lightrft_strategy.lora import add_adapter


def adapt(model: Any, config: LearningConfig) -> None:
    """Put the run's adapter, if it has one, onto a model, which is held in 4 bits if the flags say so.

    Raises ConfigError if the model has no layer of a name in --target_modules.
    """
    args = config.lora
    if not args.lora_rank:
        return
    if args.load_in_4bit:
        quantise(model, compute_dtype(config.model))
    targets = () if args.target_modules == ALL_LINEAR else names_in(args.target_modules)
    with _naming("target_modules"):
        add_adapter(model, rank=args.lora_rank, alpha=args.lora_alpha, target_modules=targets, seed=config.run.seed)


def freeze_named(model: Any, config: LearningConfig) -> None:
    """Freeze what --freeze_prefix names. Raises ConfigError for a prefix of no parameter, or of all."""
    if config.lora.freeze_prefix is not None:
        with _naming("freeze_prefix"):
            freeze(model, names_in(config.lora.freeze_prefix))


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"--{flag} {error}"]) from error

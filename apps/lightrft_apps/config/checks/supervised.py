"""Rules across the flags of every command whose model learns from examples that are there."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import out_of_bounds
from lightrft_apps.config.checks.compile import compile_problems
from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.lora import adapters_for_models, trained_problems
from lightrft_apps.config.checks.parallel import ranks_problems
from lightrft_apps.config.checks.places import missing_source, unusable_folder
from lightrft_apps.config.checks.precision import precision_problems
from lightrft_apps.config.checks.profile import profile_problems
from lightrft_apps.config.checks.tracking import tracking_problems
from lightrft_apps.config.checks.weights import weight_problems
from lightrft_apps.config.learning import SupervisedConfig


def supervised_problems(config: SupervisedConfig) -> Iterator[str]:
    """What would stop or spoil the run, whatever the examples are."""
    yield from out_of_bounds(config.to_flat())
    yield from ranks_problems(config)
    yield from compile_problems(config)
    yield from precision_problems(config.model, config.parallel.zero_stage)
    yield from attention_problems(config.model, packing=config.train.packing_samples)
    yield from weight_problems(config)
    yield from missing_source("pretrain", config.model.pretrain)
    yield from adapters_for_models({"pretrain": config.model.pretrain})
    yield from trained_problems(config)
    yield from unusable_folder(config.run.output_dir)
    yield from profile_problems(config)
    yield from tracking_problems(config)


def without_evaluation(config: SupervisedConfig, flag: str, held_out: str | None) -> Iterator[str]:
    """What to change about flags of the evaluation where --flag, which names what is held out, is not given."""
    names = ("eval_split", "eval_steps", "eval_max_samples")
    yield from without_effect(config, [(names, held_out is not None, f"set --{flag}")])

"""Rules across the flags of every command whose model learns from examples that are there."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.bounds import out_of_bounds
from lightrft_apps.config.compile_checks import compile_problems
from lightrft_apps.config.effects import without_effect
from lightrft_apps.config.learning import SupervisedConfig
from lightrft_apps.config.lora_checks import adapters_for_models, trained_problems
from lightrft_apps.config.parallel_checks import ranks_problems
from lightrft_apps.config.places import missing_source, unusable_folder
from lightrft_apps.config.precision_checks import precision_problems
from lightrft_apps.config.profile_checks import profile_problems
from lightrft_apps.config.tracking_checks import tracking_problems
from lightrft_apps.config.weight_checks import weight_problems


def supervised_problems(config: SupervisedConfig) -> Iterator[str]:
    """What would stop or spoil the run, whatever the examples are."""
    yield from out_of_bounds(config.to_flat())
    yield from ranks_problems(config)
    yield from compile_problems(config)
    yield from precision_problems(config.model, config.parallel.zero_stage)
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

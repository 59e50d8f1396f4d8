"""Rules across the flags of `lightrft sft`, checked before any model loads."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.places import missing_source
from lightrft_apps.config.checks.supervised import supervised_problems, without_evaluation
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.sft import SFTConfig


def require_valid_sft(config: SFTConfig) -> None:
    """Raise ConfigError with everything `check_sft` finds."""
    problems = check_sft(config)
    if problems:
        raise ConfigError(problems)


def check_sft(config: SFTConfig) -> list[str]:
    """Everything that would stop or spoil the run, a line each; empty if there is nothing."""
    return [*supervised_problems(config), *_examples(config)]


def _examples(config: SFTConfig) -> Iterator[str]:
    # Imports torch, which --help does not wait for.
    from lightrft_strategy.data import ExampleSpec, PromptDataError, split_format

    data, evaluation = config.data, config.evaluation
    try:
        for source in ExampleSpec(**vars(data)).sources:
            yield from missing_source("dataset", split_format(source)[1])
    except PromptDataError as error:
        yield str(error)
    yield from without_evaluation(config, "eval_dataset", evaluation.eval_dataset)
    yield from without_effect(config, [(("output_key",), not data.pretrain_mode, "leave --pretrain_mode out")])
    if evaluation.eval_dataset is None:
        return
    try:
        for source in ExampleSpec(evaluation.eval_dataset).sources:
            yield from missing_source("eval_dataset", split_format(source)[1])
    except PromptDataError:
        yield f"--eval_dataset {evaluation.eval_dataset}: names an empty source; give a file, a folder or a dataset"

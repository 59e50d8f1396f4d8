"""Whether comparisons can be what the flags say. Nothing is read yet."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.places import missing_folder, missing_source
from lightrft_apps.config.checks.supervised import without_evaluation
from lightrft_apps.config.learning import SupervisedConfig
from lightrft_apps.config.sections import PreferenceArgs


def preference_problems(config: SupervisedConfig, data: PreferenceArgs) -> Iterator[str]:
    """What to change about the flags that say where comparisons come from."""
    from lightrft_strategy.data import PromptDataError  # imports torch, which --help does not wait for

    for flag, sources in (("train_data", data.train_data), ("eval_data", data.eval_data)):
        if sources is not None:
            yield from missing_preferences(flag, sources)
    try:
        shares_of(data)
    except PromptDataError as error:
        yield str(error)
    if data.media_root is not None:
        yield from missing_folder("media_root", data.media_root)
    yield from without_evaluation(config, "eval_data", data.eval_data)


def shares_of(data: PreferenceArgs) -> list[float] | None:
    """The share of each source, None for every row equally often. Raises PromptDataError, naming the flag."""
    from lightrft_strategy.data import PromptDataError, PromptSpec

    try:
        return PromptSpec(data.train_data, prompt_data_probs=data.train_data_probs).probs
    except PromptDataError as error:
        raise PromptDataError(str(error).replace("--prompt_data", "--train_data")) from error


def missing_preferences(flag: str, sources: str) -> Iterator[str]:
    """What to change if a source is not there, or its format is not known."""
    from lightrft_rewards.preferences import PreferenceKeys
    from lightrft_rewards.preferences.spec import split_preferences
    from lightrft_strategy.data import PromptDataError

    try:
        for source in split_preferences(sources, PreferenceKeys()):
            yield from missing_source(flag, source.path)
    except PromptDataError as error:
        yield str(error).replace("--prompt_data", f"--{flag}")

"""Whether the prompts, and those held out, can be what the flags say."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.places import missing_source
from lightrft_apps.config.checks.preferences import missing_preferences
from lightrft_apps.config.judged_sources import split_judged
from lightrft_apps.config.sections import DataArgs


def prompt_problems(data: DataArgs, eval_dataset: str | None) -> Iterator[str]:
    """What to change about the flags that say where prompts come from. Nothing is read yet."""
    # Imports torch, which --help does not wait for.
    from lightrft_strategy.data import PromptDataError, PromptSpec

    try:
        spec = PromptSpec(
            data.prompt_data,
            prompt_data_probs=data.prompt_data_probs,
            input_template=data.input_template,
            media_root=data.media_root,
        )
        for source in spec.sources:
            yield from _source(data, "prompt_data", source)
    except PromptDataError as error:
        yield str(error)
    if eval_dataset is None:
        return
    try:
        for source in PromptSpec(eval_dataset).sources:
            yield from _source(data, "eval_dataset", source)
    except PromptDataError:
        yield f"--eval_dataset {eval_dataset}: names an empty source; give a file, a folder or a dataset"


def _source(data: DataArgs, flag: str, source: str) -> Iterator[str]:
    """What to change about one source."""
    from lightrft_strategy.data import PromptDataError, find_format, split_format

    judged, comparisons = split_judged(source)
    if not judged:
        name, place = split_format(source)
        if name:
            try:
                find_format(name)
            except PromptDataError as error:
                yield f"--{flag} {source}: {error}"
        yield from missing_source(flag, place)
        return
    yield from missing_preferences(flag, comparisons)
    for name in ("system_prompt", "input_template"):
        if getattr(data, name) is not None:
            yield f"--{name}: {judged}: writes the questions to the judge itself: leave --{name} out"

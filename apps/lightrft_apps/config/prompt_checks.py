"""Whether the prompts, and those held out, can be what the flags say."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.places import missing_source
from lightrft_apps.config.sections import DataArgs


def prompt_problems(data: DataArgs, eval_dataset: str | None) -> Iterator[str]:
    """What to change about the flags that say where prompts come from. Nothing is read yet."""
    # Imports torch, which --help does not wait for.
    from lightrft_strategy.data import PromptDataError, PromptSpec, split_format

    try:
        spec = PromptSpec(
            data.prompt_data,
            prompt_data_probs=data.prompt_data_probs,
            input_template=data.input_template,
            media_root=data.media_root,
        )
        for source in spec.sources:
            yield from missing_source("prompt_data", split_format(source)[1])
    except PromptDataError as error:
        yield str(error)
    if eval_dataset is None:
        return
    try:
        for source in PromptSpec(eval_dataset).sources:
            yield from missing_source("eval_dataset", split_format(source)[1])
    except PromptDataError:
        yield f"--eval_dataset {eval_dataset}: names an empty source; give a file, a folder or a dataset"

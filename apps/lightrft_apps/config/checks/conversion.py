"""Whether a model can be read and another one be written, for the commands that make one of the other."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.lora import adapters_for_models
from lightrft_apps.config.checks.places import missing_source, used_folder


def conversion_problems(pretrain: str | None, output: str) -> Iterator[str]:
    """What to change about the model that is read, None if it is not named, and the folder that is written."""
    if pretrain is not None:
        yield from missing_source("pretrain", pretrain)
        yield from adapters_for_models({"pretrain": pretrain})
    yield from used_folder(output)

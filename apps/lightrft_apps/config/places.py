"""Whether the files and folders that flags name can be what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightrft_apps.config.rl import RLConfig

FILE_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".arrow", ".gguf", ".safetensors")


def misplaced(config: RLConfig) -> Iterator[str]:
    """What to change about each path that leads nowhere."""
    yield from _missing_source("pretrain", config.model.pretrain)
    for name, sources in (("prompt_data", config.data.prompt_data), ("eval_dataset", config.evaluation.eval_dataset)):
        for source in split_sources(sources):
            yield from _missing_source(name, source)
    if config.reward.reward_fn is not None:
        yield from _missing_function(config.reward.reward_fn)
    yield from _unusable_folder(config.run.output_dir)


def split_sources(sources: str | None) -> list[str]:
    """The data sources of a flag that takes several, separated by commas; one file may have commas in its name."""
    if sources is None:
        return []
    return [sources] if _path(sources).exists() else [source.strip() for source in sources.split(",")]


def _missing_source(flag: str, source: str) -> Iterator[str]:
    looks_like_a_path = source.startswith(("/", "./", "../", "~")) or source.endswith(FILE_ENDINGS)
    if not source:
        yield f"--{flag} names nothing: give it a file, a folder or a name on the Hugging Face hub"
    elif looks_like_a_path and not _path(source).exists():
        yield f"--{flag} {source}: there is no such file or folder; {_nearest_folder(source)}"


def _missing_function(reward_fn: str) -> Iterator[str]:
    file, colon, function = reward_fn.rpartition(":")
    if not colon or not function.isidentifier():
        yield f"--reward_fn {reward_fn}: set it to file.py:function"
    elif not _path(file).is_file():
        yield f"--reward_fn {reward_fn}: there is no file {file}; {_nearest_folder(file)}"


def _unusable_folder(output_dir: str) -> Iterator[str]:
    if not output_dir:
        yield "--output_dir names nothing: set it to a folder, such as runs/first"
    for place in (_path(output_dir), *_path(output_dir).parents):
        if place.is_file():
            yield f"--output_dir {output_dir}: {place} is a file; set it to a folder, new or of a run to resume"


def _path(place: str) -> Path:
    return Path(place).expanduser()


def _nearest_folder(place: str) -> str:
    """Where the path stops existing, and where a relative one was looked for."""
    parent = _path(place).parent
    return f"looked in {parent.resolve()}" if parent.is_dir() else f"nor is there a folder {parent}"

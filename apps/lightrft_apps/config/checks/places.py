"""Whether the files and folders that flags name can be what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FILE_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".arrow", ".gguf", ".safetensors")


def missing_source(flag: str, source: str) -> Iterator[str]:
    """What to change if a file or folder was meant, rather than a name on the hub, and it is not there."""
    looks_like_a_path = source.startswith(("/", "./", "../", "~")) or source.endswith(FILE_ENDINGS)
    if not source:
        yield f"--{flag} names nothing: give it a file, a folder or a name on the Hugging Face hub"
    elif looks_like_a_path and not _path(source).exists():
        yield f"--{flag} {source}: there is no such file or folder; {_looked_in(source)}"


def missing_function(reward_fn: str) -> Iterator[str]:
    """What to change if reward_fn is not a function's name behind that of an existing file."""
    file, colon, function = reward_fn.rpartition(":")
    if not colon or not function.isidentifier():
        yield f"--reward_fn {reward_fn}: set it to file.py:function"
    elif not _path(file).is_file():
        yield f"--reward_fn {reward_fn}: there is no file {file}; {_looked_in(file)}"


def unusable_folder(folder: str, *, flag: str = "output_dir") -> Iterator[str]:
    """What to change if a file stands where the run would write."""
    if not folder:
        yield f"--{flag} names nothing: set it to a folder, such as runs/first"
    for place in (_path(folder), *_path(folder).parents):
        if place.is_file():
            yield f"--{flag} {folder}: {place} is a file; set it to a folder, new or of a run to resume"


def folder_of_a_run(output_dir: str) -> Iterator[str]:
    """What to change if a command that writes a report would write over files of a run."""
    if (_path(output_dir) / "config.yaml").exists():
        yield (
            f"--output_dir {output_dir}: a run lies there, whose rejected.jsonl would be lost: "
            f"set it to another folder, such as {Path(output_dir) / 'eval'}"
        )


def used_folder(output: str) -> Iterator[str]:
    """What to change if a model cannot be written into a folder because something is there."""
    if not output:
        yield "--output names nothing: set it to a new folder, such as runs/exported"
        return
    from lightrft_strategy.checkpoints import leftovers  # imports torch, which --help does not wait for

    folder, here = new_folder(output), Path.cwd()
    if folder in (here, *here.parents):
        yield f"--output {output}: this command runs in there: set it to a new folder, such as {output}/exported"
        return
    if _holds_something(folder):
        yield f"--output {output}: something is there already, and nothing is overwritten: set it to a new folder"
    for place in folder.parents:
        if place.is_file():
            yield f"--output {output}: {place} is a file; set it to a new folder elsewhere"
    for place in filter(_holds_something, leftovers(folder)):
        yield (
            f"--output {output}: {place} is there, as a command leaves it that was killed: remove it if it comes from "
            "that, or set --output to another folder"
        )


def new_folder(output: str) -> Path:
    """The place that --output names, by its full name without links."""
    return _path(output).resolve()


def missing_folder(flag: str, folder: str) -> Iterator[str]:
    """What to change if there is no such folder."""
    if not _path(folder).is_dir():
        yield f"--{flag} {folder}: there is no such folder"


def _holds_something(place: Path) -> bool:
    return place.is_file() or (place.is_dir() and any(place.iterdir()))


def _path(place: str) -> Path:
    return Path(place).expanduser()


def _looked_in(place: str) -> str:
    parent = _path(place).parent
    return f"looked in {parent.resolve()}" if parent.is_dir() else f"nor is there a folder {parent}"

"""What `--prompt_data` names: files, folders of files, saved datasets, dataset ids, tasks; each perhaps in a format."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from lightrft_strategy.data.arrow_rows import load_hub_dataset, open_dataset_folder, read_dataset, read_parquet
from lightrft_strategy.data.formats import format_names, in_format, split_format
from lightrft_strategy.data.procedural import TASK_KEYS, TASK_PREFIX, read_task
from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.rows import Keys, Table
from lightrft_strategy.data.text_files import read_csv, read_json, read_jsonl

_READERS = {".jsonl": read_jsonl, ".json": read_json, ".csv": read_csv, ".parquet": read_parquet}
_DATASET_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[\]]*\])")
_SPLITS = {"train", "training", "validation", "valid", "val", "dev", "test", "eval", "evaluation"}
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json"}


def split_sources(prompt_data: str) -> tuple[str, ...]:
    """The sources of a comma separated list.

    Commas belong to a name where the whole list is the name of a file, and to a task's option inside square brackets.
    Raises PromptDataError where a source is empty.
    """
    if prompt_data and Path(prompt_data).expanduser().exists():
        return (prompt_data,)
    sources = tuple(source.strip() for source in _COMMA_OUTSIDE_BRACKETS.split(prompt_data))
    if not all(sources):
        raise PromptDataError(f'--prompt_data "{prompt_data}" names an empty source: give files, folders or datasets')
    return sources


def open_source(source: str, *, split: str, keys: Keys, count: int | None) -> list[Table]:
    """The tables of one source.

    split: which part of a dataset, or of a folder whose files are named for their splits.
    keys: where the rows of files and datasets keep what; those of a named format have keys of their own.
    count: how many rows will be read at most; None for all.
    Raises PromptDataError if the source is not there or is of no known kind.
    """
    format_name, place = split_format(source)
    if format_name:
        return [in_format(format_name, table) for table in open_source(place, split=split, keys=keys, count=count)]
    if source.startswith(TASK_PREFIX):
        name, options = _parse_options(source)
        reader = partial(read_task, name.removeprefix(TASK_PREFIX), options, count)
        return [Table(source, (name, source), TASK_KEYS, reader)]
    path = Path(source).expanduser()
    if path.is_file():
        return [_file_table(path, keys)]
    if path.is_dir():
        return _folder_tables(path, split, keys)
    name, options = _parse_options(source)
    if not _DATASET_ID.fullmatch(name) or path.suffix in _READERS or name.startswith("."):
        raise PromptDataError(
            f"{source} is neither a file, a directory nor a dataset id: correct --prompt_data "
            f"(formats that may be named before a colon: {', '.join(format_names())})"
        )
    dataset = load_hub_dataset(name, options, split)
    uid_names = (f"{name}[{split}]", f"{source}[{split}]")
    return [Table(uid_names[-1], uid_names, keys, partial(read_dataset, dataset))]


def _parse_options(source: str) -> tuple[str, dict[str, str]]:
    name, _, query = source.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    for option, equals, _value in pairs:
        if not (option and equals):
            raise PromptDataError(f'{source}: options are written name?first=1&second=2, not "{option}{equals}"')
    return name, {option: value for option, _, value in pairs}


def _file_table(path: Path, keys: Keys) -> Table:
    if path.suffix not in _READERS:
        raise PromptDataError(f"{path} is of no known format: prompt data is read from {', '.join(_READERS)} files")
    return Table(str(path), _path_names(path), keys, partial(_READERS[path.suffix], path), path.absolute().parent)


def _folder_tables(folder: Path, split: str, keys: Keys) -> list[Table]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        dataset, has_splits = open_dataset_folder(folder, split)
        part = f"[{split}]" if has_splits else ""
        uid_names = tuple(name + part for name in _path_names(folder))
        return [Table(f"{folder}{part}", uid_names, keys, partial(read_dataset, dataset), folder.absolute())]
    files = [path for path in sorted(folder.rglob("*")) if _holds_rows(path, folder)]
    if not files:
        raise PromptDataError(f"{folder} holds no {', '.join(_READERS)} file and no saved dataset")
    chosen = [path for path in files if _belongs_to(path.relative_to(folder), split)]
    if not chosen:
        names = ", ".join(str(path.relative_to(folder)) for path in files[:5])
        raise PromptDataError(f'{folder} holds no file of the split "{split}" (there is {names}): set --prompt_split')
    return [_file_table(path, keys) for path in chosen]


def _holds_rows(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix in _READERS and path.is_file() and not hidden and path.name not in _DESCRIPTIONS


def _belongs_to(relative: Path, split: str) -> bool:
    """A file named for a split (`test.jsonl`, `data/test-0.parquet`) is of that split, any other of all usual ones."""
    names = {re.split(r"[^A-Za-z0-9]", part, maxsplit=1)[0].lower() for part in relative.parts}
    return split in names or (split in _SPLITS and not names & _SPLITS)


def _path_names(path: Path) -> tuple[str, ...]:
    parts = path.absolute().parts
    return tuple(str(Path(*parts[-count:])) for count in range(1, len(parts) + 1))

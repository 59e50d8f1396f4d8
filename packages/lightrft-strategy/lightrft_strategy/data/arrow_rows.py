"""Rows of Parquet files and Hugging Face datasets, read from Arrow without decoding media."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.rows import Row

if TYPE_CHECKING:
    from datasets import Dataset

_CHUNK = 1024
_LOAD_OPTIONS = ("name", "revision", "data_dir")


def read_parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet file. Raises PromptDataError if it is broken."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield from _rows(file.iter_batches(batch_size=_CHUNK))
    except (OSError, ValueError) as error:
        raise PromptDataError(f"{path} cannot be read as Parquet: {error}") from error


def read_dataset(dataset: Dataset) -> Iterator[Row]:
    """Rows of a Hugging Face dataset."""
    return _rows(dataset.with_format("arrow").iter(batch_size=_CHUNK))


def open_dataset_folder(folder: Path, split: str) -> tuple[Dataset, bool]:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, and whether it has splits.

    Raises PromptDataError if it is broken or lacks the split.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise PromptDataError(f"{folder} cannot be read as a saved dataset: {error}") from error
    if not isinstance(saved, DatasetDict):
        return saved, False
    if split not in saved:
        raise PromptDataError(f'{folder} has no split "{split}": set --prompt_split to one of {", ".join(saved)}')
    return saved[split], True


def load_hub_dataset(name: str, options: dict[str, str], split: str) -> Dataset:
    """A dataset of the Hugging Face hub (or its cache), by id. options: name (the configuration), revision, data_dir.

    Raises PromptDataError if there is no such option or the dataset cannot be loaded.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    for option in options:
        if option not in _LOAD_OPTIONS:
            raise PromptDataError(f'{name}: unknown option "{option}"; there are {", ".join(_LOAD_OPTIONS)}')
    try:
        return load_dataset(name, split=split, **options)
    except (OSError, ValueError, DatasetsError) as error:
        raise PromptDataError(
            f"{name} is neither a file, a directory nor a dataset id that could be loaded: {error}"
        ) from error


def _rows(batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for content in batch.to_pylist():
            number += 1
            yield Row(number, content)

"""GenAI-Bench of videos (Li et al. 2024, arXiv 2406.13743): a JSON object of prompts with ratings by model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Handler, Place, open_tables, row_by_row
from lightrft_rewards.preferences.handlers.genai_bench import mean
from lightrft_rewards.preferences.values import asked, medium
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import described
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.rows import Keys, Row, Table

FILE = "genai_video.json"


def genai_bench_video(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt; models: {model: [ratings]}. The videos are MODEL/ID.mp4 beside the file; one comparison of all models.

    Raises RowError for an entry of another form.
    """
    identity = text_of(content, "id")
    _, ratings = field_of(content, "models")
    if not isinstance(ratings, Mapping) or len(ratings) < 2:
        raise RowError(f'its "models" are {described(ratings)}, not an object with the ratings of two models or more')
    means = {str(model): mean(values, model) for model, values in ratings.items()}
    paths = [f"{model}/{identity}.mp4" for model in means]
    return Comparison(
        place.uid,
        asked(content, "prompt"),
        tuple(medium("video", path, "models") for path in paths),
        {"score": tuple(means.values())},
        makers=tuple(means),
        root=place.root(paths[0]),
    )


def _open(path: str, *, split: str) -> list[Table]:
    """The object of entries by id, in a file or a folder's genai_video.json; anything else as rows with an "id"."""
    file = Path(path).expanduser()
    file = file / FILE if (file / FILE).is_file() else file
    if file.suffix != ".json" or not file.is_file():
        return open_tables(path, split=split)
    try:
        entries = json.loads(file.read_text("utf-8-sig"))
    except (ValueError, RecursionError):
        return open_tables(str(file), split=split)
    if not isinstance(entries, dict):
        return open_tables(str(file), split=split)
    if not entries:
        raise PromptDataError(f"{file} is an object of no entries")
    names = (file.name, str(file.absolute()))
    return [Table(str(file), names, Keys(), partial(_rows, str(file), entries), file.absolute().parent)]


def _rows(source: str, entries: Mapping[str, Any]) -> Iterator[Row | Rejected]:
    for number, (identity, entry) in enumerate(entries.items(), start=1):
        if isinstance(entry, dict):
            yield Row(number, {**entry, "id": identity}, entry)
        else:
            yield Rejected(source, number, f"is a JSON {type(entry).__name__}, not an object", entry)


GENAI_BENCH_VIDEO = Handler(row_by_row(genai_bench_video).read, _open)

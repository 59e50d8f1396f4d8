"""The saved answers of a file as the page reads them: parts of it to be unpacked one by one, and a line for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lightrft_apps.recording.trajectories import SCHEMA
from lightrft_apps.reporting.packed import halves, packed

Floats = NDArray[np.float64]

TOKENS_IN_A_PART = 60_000
"""About so many tokens are unpacked at once."""

TRUNCATED, FAILED, TIMED_OUT, WELL_FORMED, SHAPED = 1, 2, 4, 8, 16
"""Flags of an answer: cut off; not judged; judged too slowly; its part `format` is above 0; it has such a part."""

_TEXTS = ("prompt", "messages", "label", "route", "parts", "steps", "notes", "error", "response")


@dataclass(frozen=True)
class Part:
    """Some groups of a file, packed; columns: a number of each of their answers; uids: of each group.

    counts: answers of each group. tokens: by the mode they are coloured by, some of the numbers, to find its scale by.
    """

    packed: str
    uids: list[str]
    counts: list[int]
    columns: dict[str, NDArray[Any]]
    tokens: dict[str, Floats]
    media: dict[str, str]


def groups_of(path: Path) -> list[tuple[int, int]]:
    """First row and number of rows of each group of a file, in order; none of a file without rows.

    Raises OSError or pyarrow's errors for a damaged file.
    """
    table = pq.read_table(path, columns=["prompt_uid", "occurrence"])
    uids, occurrences = table["prompt_uid"].to_pylist(), table["occurrence"].to_pylist()
    starts = [
        row
        for row in range(len(uids))
        if row == 0 or (uids[row], occurrences[row]) != (uids[row - 1], occurrences[row - 1])
    ]
    return [(start, end - start) for start, end in pairwise([*starts, len(uids)])]


def parts_of(path: Path, groups: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """These groups of a file, packed in parts."""
    table = _complete(_rows(path, [row for start, count in groups for row in range(start, start + count)]))
    lengths = np.array([len(ids) for ids in table["token_ids"].to_pylist()], dtype=np.int64)
    begin = row = tokens = 0
    for place, (_, count) in enumerate(groups):
        tokens += int(lengths[row : row + count].sum())
        row += count
        if tokens >= TOKENS_IN_A_PART or place == len(groups) - 1:
            counts = [count for _, count in groups[begin : place + 1]]
            yield _part(table.slice(row - sum(counts), sum(counts)).combine_chunks(), counts)
            begin, tokens = place + 1, 0


def _rows(path: Path, rows: list[int]) -> pa.Table:
    """These rows of a file, in order; of a large one no more is read than the row groups they lie in."""
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        ends = np.cumsum([0, *sizes])
        wanted = np.array(rows, dtype=np.int64)
        within = np.searchsorted(ends, wanted, side="right") - 1
        needed = np.unique(within)
        begins = np.cumsum([0, *(sizes[number] for number in needed)])[:-1]
        places = wanted - ends[within] + begins[np.searchsorted(needed, within)]
        return file.read_row_groups(needed.tolist()).take(pa.array(places))


def _complete(table: pa.Table) -> pa.Table:
    """With a null for every column that an older run did not write."""
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _part(table: pa.Table, counts: list[int]) -> Part:
    plain = {name: table[name].to_pylist() for name in SCHEMA.names if not pa.types.is_list(SCHEMA.field(name).type)}
    ids = table["token_ids"].to_pylist()
    lengths = np.array([len(each) for each in ids], dtype=np.int64)
    by_token = {
        name: _flat(table[name], lengths)
        for name in ("logprobs", "trainer_logprobs", "advantages", "entropy", "ratios")
    }
    by_token["gap"] = by_token["trainer_logprobs"] - by_token["logprobs"]
    words, places = _vocabulary(table, ids)
    answers = [_answer(plain, row, table["pieces"][row].as_py()) for row in range(len(table))]
    firsts = np.cumsum([0, *counts[:-1]])
    groups = [_group(plain, int(row), table["media"][int(row)].as_py() or []) for row in firsts]
    header = {"words": words, "groups": groups, "answers": answers}
    shown = {name: halves(by_token[name]) for name in ("advantages", "ratios", "entropy", "gap", "logprobs")}
    columns = {"lengths": lengths.astype(np.uint32), "counts": np.array(counts, dtype=np.uint32)}
    return Part(
        packed(header, columns | {"words": places} | shown),
        [str(plain["prompt_uid"][row]) for row in firsts],
        counts,
        _summaries(plain, lengths, by_token, answers),
        {name: _some(by_token[name]) for name in ("advantages", "ratios", "entropy", "gap")},
        {sha: modality for group in groups for modality, sha in group["media"]},
    )


def _flat(column: pa.ChunkedArray, lengths: NDArray[np.int64]) -> Floats:
    """A column of lists as one row of numbers, as many of each answer as it has tokens; nan where there is none."""
    known = np.array([len(numbers) if numbers is not None else -1 for numbers in column.to_pylist()])
    numbers = np.full(int(lengths.sum()), np.nan)
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if np.all((known == lengths) | (known == -1)):
        numbers[np.repeat(known == lengths, lengths)] = values
    return numbers


def _vocabulary(table: pa.Table, ids: list[list[int]]) -> tuple[list[list[Any]], NDArray[Any]]:
    """Every [token id, its text] once, and the place there of each token. A text is null where none was kept."""
    pieces = [
        told if told is not None and len(told) == len(own) else [None] * len(own)
        for told, own in zip(table["pieces"].to_pylist(), ids, strict=True)
    ]
    known: dict[tuple[int, str | None], int] = {}
    pairs = (pair for told, own in zip(pieces, ids, strict=True) for pair in zip(own, told, strict=True))
    places = [known.setdefault(pair, len(known)) for pair in pairs]
    return [list(pair) for pair in known], np.array(places, dtype=np.uint32)


def _group(plain: dict[str, list[Any]], row: int, media: list[str]) -> dict[str, Any]:
    parts = [entry.partition(":") for entry in media]
    return {
        "occurrence": plain["occurrence"][row] or 0,
        "prompt": plain["prompt"][row] or "",
        "messages": _json(plain["messages"][row], list),
        "media": [[modality, sha] for modality, _, sha in parts],
        "label": plain["label"][row] or "",
        "route": plain["route"][row] or "",
    }


def _answer(plain: dict[str, list[Any]], row: int, pieces: list[str] | None) -> dict[str, Any]:
    response = plain["response"][row] or ""
    steps = [step for step in _json(plain["steps"][row], list) if isinstance(step, list) and len(step) == 2]
    written = {
        "sample": plain["sample"][row],
        "finish": plain["finish_reason"][row],
        "reward": _finite(plain["reward"][row]),
        "accuracy": _finite(plain["accuracy"][row]),
        "advantage": _finite(plain["advantage"][row]),
        "parts": {str(name): _finite(value) for name, value in _json(plain["parts"][row], dict).items()},
        "notes": {str(name): str(note) for name, note in _json(plain["notes"][row], dict).items()},
        "error": plain["error"][row] or "",
        "late": plain["timed_out"][row] or None,
        "steps": [[token, _finite(reward)] for token, reward in _ends(steps, response, pieces or [])],
        "response": response if pieces is None else "",
    }
    return {name: value for name, value in written.items() if value == 0 or value}


def _ends(steps: list[list[Any]], response: str, pieces: list[str]) -> Iterator[tuple[int, Any]]:
    """The token by which each step is written, and its reward. Special tokens are no letters of the response."""
    at, reached = 0, []
    for piece in pieces:
        at += len(piece) if response.startswith(piece, at) else 0
        reached.append(at)
    for end, reward in steps:
        if isinstance(end, int) and reached and 0 < end <= reached[-1]:
            yield int(np.searchsorted(reached, end)), reward


def _summaries(
    plain: dict[str, list[Any]], lengths: NDArray[np.int64], by_token: dict[str, Floats], answers: list[dict[str, Any]]
) -> dict[str, NDArray[Any]]:
    """One number of each answer, to filter and sort by."""
    formats = [[value for name, value in answer.get("parts", {}).items() if "format" in name] for answer in answers]
    flags = [
        TRUNCATED * (answer.get("finish") == "length")
        | FAILED * ("reward" not in answer)
        | TIMED_OUT * ("late" in answer)
        | WELL_FORMED * any(value is not None and value > 0 for value in well)
        | SHAPED * bool(well)
        for answer, well in zip(answers, formats, strict=True)
    ]
    return {
        "length": lengths.astype(np.uint32),
        "flags": np.array(flags, dtype=np.uint8),
        "sample": np.array(plain["sample"], dtype=np.float32),
        **{
            name: np.array([np.nan if value is None else value for value in plain[name]], dtype=np.float32)
            for name in ("reward", "accuracy", "advantage")
        },
        "gap": _extreme(np.abs(by_token["gap"]), lengths),
        "ratio": _extreme(np.abs(by_token["ratios"] - 1), lengths),
    }


def _extreme(numbers: Floats, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """The largest number of each answer, nan where it has none."""
    ends = np.cumsum(lengths)
    rows = zip(ends - lengths, ends, strict=True)
    known = (row[~np.isnan(row)] for row in (numbers[start:end] for start, end in rows))
    return np.array([row.max() if len(row) else np.nan for row in known], dtype=np.float32)


def _some(numbers: Floats, most: int = 5000) -> Floats:
    known: Floats = numbers[np.isfinite(numbers)]
    return known[:: max(1, len(known) // most)]


def _json(text: str | None, kind: type) -> Any:
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = None
    return value if isinstance(value, kind) else kind()


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None

"""Rows of JSONL, JSON and CSV files. A bad row is yielded as Rejected; the rest of the file is still read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from lightrft_strategy.data.rejected import PromptDataError, Rejected
from lightrft_strategy.data.rows import Row

_BOM = b"\xef\xbb\xbf"
_CSV_FIELD_LIMIT = 2**31 - 1


def read_jsonl(path: Path) -> Iterator[Row | Rejected]:
    """One JSON object a line. Blank lines are passed over, but count as lines."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.removeprefix(_BOM) if number == 1 else line
            if line.strip():
                yield _jsonl_row(str(path), number, line.rstrip(b"\r\n"))


def read_json(path: Path) -> Iterator[Row | Rejected]:
    """A JSON list of objects; a file that does not begin with a list is read as JSONL.

    Raises PromptDataError if the list cannot be parsed.
    """
    with path.open("rb") as file:
        if not file.read(4096).removeprefix(_BOM).lstrip().startswith(b"["):
            yield from read_jsonl(path)
            return
    try:
        items = _parse(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise PromptDataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise PromptDataError(f"{path} is not a JSON list: {error}") from error
    for number, item in enumerate(items, start=1):
        yield _object_row(str(path), number, item)


def read_csv(path: Path) -> Iterator[Row | Rejected]:
    """Rows under a header line; every value is text. Rows are counted without the header.

    Raises PromptDataError if the header is missing or names a column twice.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        raw: list[str] = []
        records = _csv_records(_copying(file, raw))
        header = next(records, None)
        if not isinstance(header, list) or len(set(header)) < len(header):
            raise PromptDataError(f"{path} needs a header line that names each of its columns once, not {header}")
        raw.clear()
        for number, record in enumerate(records, start=1):
            yield _csv_row(str(path), number, header, record, "".join(raw).strip("\r\n"))
            raw.clear()


def _jsonl_row(source: str, number: int, line: bytes) -> Row | Rejected:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        readable = line.decode("utf-8", "backslashreplace")
        return Rejected(source, number, f"is not UTF-8 (byte {error.start} of the line)", readable)
    try:
        item = _parse(text)
    except json.JSONDecodeError as error:
        return Rejected(source, number, f"is not JSON: {error.msg} (column {error.colno})", text)
    except (ValueError, RecursionError) as error:
        return Rejected(source, number, f"is not JSON: {error}", text)
    return _object_row(source, number, item)


def _object_row(source: str, number: int, item: Any) -> Row | Rejected:
    if isinstance(item, dict):
        return Row(number, item)
    return Rejected(source, number, f"is a JSON {type(item).__name__}, not an object", item)


def _parse(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _copying(lines: Iterable[str], copy: list[str]) -> Iterator[str]:
    for line in lines:
        copy.append(line)
        yield line


def _csv_records(lines: Iterator[str]) -> Iterator[list[str] | csv.Error]:
    """The records, or the error in place of one; long fields are let through without changing csv's global limit."""
    reader = csv.reader(lines, strict=True)
    while True:
        limit = csv.field_size_limit(_CSV_FIELD_LIMIT)
        try:
            record: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            record = error
        finally:
            csv.field_size_limit(limit)
        if record != []:
            yield record


def _csv_row(source: str, number: int, header: list[str], record: list[str] | csv.Error, raw: str) -> Row | Rejected:
    readable = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if readable != raw:
        return Rejected(source, number, "is not UTF-8", readable)
    if isinstance(record, csv.Error):
        return Rejected(source, number, f"is not CSV: {record}", raw)
    if len(record) != len(header):
        return Rejected(source, number, f"has {len(record)} fields where the header has {len(header)}", raw)
    return Row(number, dict(zip(header, record, strict=True)))

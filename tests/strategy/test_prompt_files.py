"""Reading prompt data: every format, and what becomes of rows that cannot be used."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightrft_strategy.data import (
    LoadedPrompts,
    PromptDataError,
    PromptSpec,
    Rejected,
    load_prompts,
    write_rejected,
)

Load = Callable[..., LoadedPrompts]

TWO_ROWS = [{"input": "one plus one", "label": 2}, {"input": "two plus two", "label": 4, "route": "sums"}]


@pytest.fixture(scope="module")
def load() -> Load:
    """load(source, **flags): a token is a word."""
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")

    def load(*sources: object, **flags: Any) -> LoadedPrompts:
        return load_prompts(PromptSpec(",".join(map(str, sources)), **flags), tokenizer)

    return load


def jsonl(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def write_json(path: Path) -> None:
    path.write_text(json.dumps(TWO_ROWS, indent=2))


def write_lines_as_json(path: Path) -> None:
    jsonl(path, *TWO_ROWS)


def write_parquet(path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(TWO_ROWS, schema=schema()), path)


def write_saved_dataset(path: Path) -> None:
    datasets.Dataset(pa.Table.from_pylist(TWO_ROWS, schema=schema())).save_to_disk(str(path))


def schema() -> pa.Schema:
    return pa.schema([("input", pa.string()), ("label", pa.int64()), ("route", pa.string())])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("data.jsonl", write_lines_as_json),
        ("lines.json", write_lines_as_json),
        ("list.json", write_json),
        ("data.parquet", write_parquet),
        ("saved", write_saved_dataset),
    ],
)
def test_every_format_gives_the_same_prompts(
    tmp_path: Path, load: Load, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    loaded = load(tmp_path / name)
    assert [(p.uid, p.text, p.label, p.route) for p in loaded.sources[0]] == [
        (f"{name}:1", "one plus one", 2, ""),
        (f"{name}:2", "two plus two", 4, "sums"),
    ]
    assert not loaded.rejected
    assert not loaded.warnings


def test_csv_rows_are_text_and_counted_without_the_header(tmp_path: Path, load: Load) -> None:
    path = tmp_path / "data.csv"
    path.write_text('\ufeffinput,label\n"one, and\nmore",007\n\nshort\nlast,8\n')
    loaded = load(path)
    assert [(p.uid, p.text, p.label) for p in loaded.sources[0]] == [
        ("data.csv:1", "one, and\nmore", "007"),
        ("data.csv:3", "last", "8"),
    ]
    assert [str(item) for item in loaded.rejected] == [f"{path}, row 2: has 1 fields where the header has 2"]
    assert loaded.rejected[0].content == "short"


def test_csv_reports_bad_quoting_and_bad_bytes_and_reads_long_fields(tmp_path: Path, load: Load) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b'input,label\n"a"b,1\nwh\xffat,2\n' + b"w " * 100_000 + b',3\n"never closed,4\n')
    limit = csv.field_size_limit()
    loaded = load(path, prompt_max_len=None)
    assert [p.uid for p in loaded.sources[0]] == ["data.csv:3"]
    assert [(item.row, item.reason.split(":")[0]) for item in loaded.rejected] == [
        (1, "is not CSV"),
        (2, "is not UTF-8"),
        (4, "is not CSV"),
    ]
    assert csv.field_size_limit() == limit


def test_a_csv_header_names_each_column_once(tmp_path: Path, load: Load) -> None:
    (tmp_path / "data.csv").write_text("input,input\na,b\n")
    with pytest.raises(PromptDataError, match=r"data\.csv needs a header line that names each of its columns once"):
        load(tmp_path / "data.csv")


def test_each_bad_row_of_a_jsonl_file_is_kept_with_its_line_and_reason(tmp_path: Path, load: Load) -> None:
    bad = {
        '{"input": "cut off': "is not JSON: Unterminated string starting at (column 11)",
        "[1, 2]": "is a JSON list, not an object",
        '{"input": "x", "label": NaN}': "is not JSON: NaN is no JSON value",
        '{"prompt": "x", "label": 1}': 'has no key "input" (it has "prompt", "label"): set --input_key',
        '{"input": "  "}': "has an empty prompt",
        '{"input": []}': "has an empty prompt: a list of no messages",
        '{"input": 7}': 'its input "input" is of type int, neither a string nor a list of chat messages',
        '{"input": null}': 'its input "input" is null, neither a string nor a list of chat messages',
        '{"input": "a b c d"}': "has a prompt of 4 tokens, more than --prompt_max_len 3",
        '{"input": "half \\ud800"}': "its prompt is not valid Unicode: it holds half of a surrogate pair",
        '{"input": "x", "route": ["a"]}': 'its route "route" is of type list, not a string',
        '{"input": [{"from": "human", "value": "x"}]}': 'message 1 has no "role" (it has "from", "value")',
        '{"input": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]}': (
            "shows or plays the image in message 1, and --pretrain is a model of text alone: set it to one that reads "
            "images, such as Qwen2.5-VL (images, videos), Qwen2-Audio (audios) or Qwen2.5-Omni (all)"
        ),
        '{"input": [{"role": "user", "content": null}]}': (
            "message 1 has a content that is null, neither a string nor a list of parts"
        ),
        '{"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}': (
            "ends with a message of the assistant, so there is nothing to answer"
        ),
    }
    path = jsonl(tmp_path / "data.jsonl", {"input": "good", "label": 1}, "", *bad)
    with path.open("ab") as file:
        file.write(b'{"input": "\xff"}\n')
    loaded = load(path, prompt_max_len=3)

    assert [p.uid for p in loaded.sources[0]] == ["data.jsonl:1"]
    assert [(item.source, item.row, item.reason) for item in loaded.rejected] == [
        *((str(path), line, reason) for line, reason in enumerate(bad.values(), start=3)),
        (str(path), 18, "is not UTF-8 (byte 11 of the line)"),
    ]
    assert loaded.rejected[3].content == {"prompt": "x", "label": 1}


def test_rejected_rows_are_written_whole_one_json_object_a_line(tmp_path: Path, load: Load) -> None:
    rows = [{"input": "fine", "picture": None}, {"input": "", "picture": b"\x00\xff"}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    write_rejected(tmp_path / "rejected.jsonl", load(tmp_path / "data.parquet").rejected)
    assert [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()] == [
        {
            "source": str(tmp_path / "data.parquet"),
            "row": 2,
            "reason": "has an empty prompt",
            "content": {"input": "", "picture": "AP8="},
        }
    ]


@pytest.mark.parametrize(("size", "written"), [(4096, "base64"), (4097, "hash")])
def test_long_bytes_of_a_rejected_row_are_written_as_their_number_and_hash(
    tmp_path: Path, size: int, written: str
) -> None:
    picture = bytes(range(256)) * 16 + b"!" * (size - 4096)
    write_rejected(tmp_path / "rejected.jsonl", [Rejected("data", 1, "bad", {"images": [{"bytes": picture}]})])
    (line,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    expected = {
        "base64": b64encode(picture).decode(),
        "hash": f"{size} bytes, sha256 {sha256(picture).hexdigest()}",
    }
    assert json.loads(line)["content"] == {"images": [{"bytes": expected[written]}]}


def test_a_source_without_one_usable_row_is_an_error_that_gives_reasons(tmp_path: Path, load: Load) -> None:
    path = jsonl(tmp_path / "data.jsonl", *[{"question": "x"}] * 5)
    with pytest.raises(PromptDataError) as caught:
        load(path)
    assert "not one of its 5 rows can be used" in str(caught.value)
    assert f'{path}, row 3: has no key "input" (it has "question"): set --input_key' in str(caught.value)
    assert [item.row for item in caught.value.rejected] == [1, 2, 3, 4, 5]


def test_an_empty_file_is_an_error(tmp_path: Path, load: Load) -> None:
    with pytest.raises(PromptDataError, match=r"data\.jsonl has no rows"):
        load(jsonl(tmp_path / "data.jsonl"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 no", r"a\.parquet cannot be read as Parquet"),
        ("a.json", b"[{]", r"a\.json is not a JSON list: .*line 1 column 3"),
        ("a.txt", b"x", r"a\.txt is of no known format: .*\.jsonl, \.json, \.csv, \.parquet"),
    ],
)
def test_a_broken_or_unknown_file_is_an_error_that_names_it(
    tmp_path: Path, load: Load, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PromptDataError, match=message):
        load(tmp_path / name)


def test_labels_are_json_values_whatever_the_file_held(tmp_path: Path, load: Load) -> None:
    rows = [
        {"input": "a", "label": {"day": date(2024, 2, 29), "price": Decimal("1.50"), "tags": ["x"], "gone": None}},
        {"input": "b", "label": None},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    loaded = load(tmp_path / "data.parquet")
    assert loaded.sources[0][0].label == {"day": "2024-02-29", "price": "1.50", "tags": ["x"], "gone": None}
    assert loaded.sources[0][1].label is None
    assert loaded.warnings == [
        f"{tmp_path}/data.parquet: 1 of 2 prompts have no label (first: data.parquet:2); "
        "set --label_key if their answers are under another key"
    ]


@pytest.mark.parametrize(("label", "what"), [(b"x", "a bytes"), (float("nan"), "nan")])
def test_a_label_json_has_no_form_for_is_rejected(tmp_path: Path, load: Load, label: Any, what: str) -> None:
    parquet.write_table(pa.Table.from_pylist([{"input": "a", "label": label}]), tmp_path / "data.parquet")
    with pytest.raises(PromptDataError, match=f'row 1: its label "label" holds {what}, which JSON has no form for'):
        load(tmp_path / "data.parquet")


def test_keys_say_where_prompt_label_and_route_are(tmp_path: Path, load: Load) -> None:
    path = jsonl(tmp_path / "data.jsonl", {"q": "x", "a": [1, {"b": None}], "r": "maths", "label": "other"})
    (prompt,) = load(path, input_key="q", label_key="a", route_key="r").sources[0]
    assert (prompt.text, prompt.label, prompt.route) == ("x", [1, {"b": None}], "maths")

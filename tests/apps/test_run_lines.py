"""Lines of a run's files: whoever reads them takes the same ones, whatever a kill or a full disk has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_apps.recording.directory import RunDirectory, open_run
from lightrft_apps.recording.following import JsonLines
from lightrft_apps.recording.lines import line_of, read_lines
from lightrft_apps.reporting.facts import read_run

TORN = b'5\n[1]\n{"step": "2"}\n{"step": true}\n{"step": 2.0}\n{"loss": 1}\n\xff\n\n{"step": 2' + b"[" * 100_000 + b"\n"


def test_every_reader_takes_the_same_lines(tmp_path: Path) -> None:
    whole = b'{"step": 1, "eval/accuracy": 0.5}\n', b'{"step": 3, "eval/accuracy": 0.25}\n'
    run, _ = open_run(tmp_path, lambda path: {})
    run.metrics.write_bytes(whole[0] + TORN + whole[1] + b'{"step": 4, "eval/accuracy": 1.0}')
    expected = [json.loads(line) for line in whole]
    read = read_lines(run.metrics)
    assert (read.lines, read.torn) == (expected, [*range(2, 11), 12])
    assert JsonLines(run.metrics).lines() == expected
    assert read_run(tmp_path, "run").lines == expected
    assert run.best(1, 3, 4) == 1
    run.close()
    assert read_lines(RunDirectory(tmp_path / "nothing").metrics).lines == []


@given(st.dictionaries(st.text(), st.none() | st.floats(allow_nan=False) | st.text()), st.integers(), st.data())
def test_a_line_counts_if_it_is_whole_and_not_if_anything_of_its_end_is_missing(
    said: dict[str, Any], step: int, data: st.DataObject
) -> None:
    line = {**said, "step": step}
    content = json.dumps(line).encode() + b"\n"
    assert line_of(content) == line
    assert line_of(content[: data.draw(st.integers(0, len(content) - 1))]) is None


def test_a_file_that_is_replaced_while_it_is_opened_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "metrics.jsonl", tmp_path / "other"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    other.write_text('{"step": 7}\n{"step": 8}\n{"step": 9}\n')
    own = Path.open

    def replaced(self: Path, *args: Any) -> Any:
        file = own(self, *args)
        other.replace(path)
        return file

    following = JsonLines(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", replaced)
        assert [line["step"] for line in following.lines()] == [1, 2]
    assert [line["step"] for line in following.lines()] == [7, 8, 9]

"""A file of prompts: the answers of `lightrft eval`, and every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.usefixtures("one_thread")

Command = Callable[..., Any]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_the_answers_and_rewards_are_those_of_eval(
    lightrft: Command, model: Path, tmp_path: Path, temperature: float
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"q": f"{i}+{i}", "a": str(2 * i)}) + "\n" for i in range(6)))
    (tmp_path / "reward.py").write_text(
        "def score(prompts, responses, labels):\n"
        "    return [len(r) % 5 / 5 + int(l) for r, l in zip(responses, labels)]\n"
    )
    shared = {
        "pretrain": model,
        "input_key": "q",
        "label_key": "a",
        "generate_max_len": 9,
        "temperature": temperature,
        "reward_fn": f"{tmp_path / 'reward.py'}:score",
        "reward_workers": 1,
        "progress": False,
        "system_prompt": "add",
        "seed": 3,
    }
    told = lightrft("chat", **shared, input=prompts, output=tmp_path / "answers.jsonl")
    assert told.code == 0, told.err
    evaluated = lightrft("eval", **shared, prompt_data=prompts, output_dir=tmp_path / "eval", apply_chat_template=True)
    assert evaluated.code == 0, evaluated.err
    ours, theirs = rows_of(tmp_path / "answers.jsonl"), pq.read_table(tmp_path / "eval/answers.parquet").to_pylist()
    theirs.sort(key=lambda row: row["prompt_uid"])
    assert [row["answer"] for row in ours] == [row["response"] for row in theirs]
    assert [row["prompt"] for row in ours] == [row["prompt"] for row in theirs]
    assert [row["reward"] for row in ours] == [row["reward"] for row in theirs]
    assert [row["label"] for row in ours] == [str(2 * i) for i in range(6)]
    assert len({row["answer"] for row in ours}) > 1 and {row["tokens"] for row in ours} <= set(range(1, 10))


def test_bad_rows_are_named_and_kept_out_and_counted(lightrft: Command, model: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"input": "one"}\nno json\n{"other": 3}\n{"input": "two"}\n')
    ended = lightrft("chat", pretrain=model, input=prompts, output=tmp_path / "out.jsonl", generate_max_len=3)
    assert ended.code == 0
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row.get("prompt_uid") for row in rows] == ["prompts.jsonl:1", "prompts.jsonl:4", None, None]
    assert [(row["row"], "answer" in row) for row in rows[2:]] == [(2, False), (3, False)]
    assert "row 2: is not JSON" in ended.err and 'has no key "input"' in ended.err
    assert "2 answers in" in ended.err and "2 rows rejected" in ended.err
    again = lightrft("chat", pretrain=model, input=prompts, output=tmp_path / "out.jsonl", generate_max_len=3)
    assert again.code == 2 and "nothing is overwritten" in again.err


def test_lines_of_a_text_file_are_prompts_and_blank_ones_are_none(
    lightrft: Command, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("one\n\n  two \n")
    ended = lightrft(
        "chat", pretrain=model, input=tmp_path / "prompts.txt", output=tmp_path / "o.jsonl", generate_max_len=3
    )
    assert ended.code == 0, ended.err
    rows = rows_of(tmp_path / "o.jsonl")
    assert [row["messages"][0]["content"] for row in rows] == ["one", "  two "]
    assert [row["prompt_uid"].rpartition(":")[2] for row in rows] == ["1", "3"]
    (tmp_path / "none.txt").write_text("\n\n")
    ended = lightrft("chat", pretrain=model, input=tmp_path / "none.txt", output=tmp_path / "n.jsonl")
    assert ended.code == 1 and "--input" in ended.err and not (tmp_path / "n.jsonl").exists()

"""Where `lightrft eval` writes, and that its report says how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def asked(flags: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    names = ("pretrain", "prompt_data", "reward_fn", "generate_max_len", "reward_workers")
    return {name: flags[name] for name in names} | {"output_dir": str(tmp_path / "run"), "progress": False}


def test_a_runs_folder_is_refused_and_its_rejected_rows_stay(
    asked: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("pretrain: x\n")
    (tmp_path / "run" / "rejected.jsonl").write_text('{"row": 3}\n')
    ended = lightrft("eval", **asked)
    assert ended.code == 2
    assert f"--output_dir {tmp_path / 'run'}: a run lies there" in ended.err
    assert f"such as {tmp_path / 'run' / 'eval'}" in ended.err
    assert (tmp_path / "run" / "rejected.jsonl").read_text() == '{"row": 3}\n'


def test_a_file_in_the_folders_place_is_found_before_anything_is_loaded(
    asked: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    ended = lightrft("eval", **asked)
    assert ended.code == 2 and "is a file; set it to a folder" in ended.err


def test_the_report_holds_every_flag(asked: dict[str, Any], lightrft: Command, tmp_path: Path) -> None:
    ended = lightrft("eval", **asked, seed=7, stop_token_ids="5")
    assert ended.code == 0, ended.err
    flags = json.loads((tmp_path / "run" / "eval.json").read_text())["flags"]
    assert {name: flags[name] for name in asked} == asked
    assert (flags["seed"], flags["stop_token_ids"], flags["engine_type"]) == (7, [5], "embedded")

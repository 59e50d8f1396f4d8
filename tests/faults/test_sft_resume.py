"""Supervised fine-tuning that is killed and started again ends with the bits of a run never killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., int]
Kills = Sequence[tuple[str, int]]

KILLS = [
    ("naming config.yaml", 1),
    ("in a line of the metrics", 3),
    ("after an optimiser step", 4),
    ("in the weights of a checkpoint", 1),
    ("between line and checkpoint", 1),
    ("rewinding the metrics", 1),
    ("after an optimiser step", 3),
    ("in the final export", 1),
    ("naming the final export", 1),
    ("naming the summary", 1),
]
FILES = {"config.yaml", "final", "metrics.jsonl", "rejected.jsonl", "summary.json", "checkpoints"}


def words(task: Any, folder: Path, *more: str) -> list[str]:
    """9 steps over three epochs of examples in an order of their own, looked at and kept every other step."""
    rows = task.folder / "answers.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{i}+{i}=", "output": str(2 * i)}) + "\n" for i in range(12)))
    flags: dict[str, Any] = {
        "pretrain": task.folder / "model",
        "dataset": rows,
        "eval_dataset": rows,
        "eval_max_samples": 3,
        "output_dir": folder,
        "train_batch_size": 4,
        "max_epochs": 3,
        "save_steps": 2,
        "eval_steps": 2,
        "learning_rate": 0.003,
        "lr_scheduler": "cosine",
    }
    return ["sft", *(f"--{name}={value}" for name, value in flags.items()), *more]


def content(run: Path) -> dict[str, Any]:
    """Every file of a run, without what clocks and paths have a say in."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "config.yaml")):
        name = str(path.relative_to(run))
        if name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in one.items() if not k.startswith(("time/", "memory/"))} for one in lines]
        elif name == "summary.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if not k.endswith("seconds")}
        else:
            found[name] = path.read_bytes()
    return found


def assert_ends_alike(
    launch: Launch, words: Callable[[Path], list[str]], kills: Kills, place: Path, *, lines: int
) -> dict[str, Any]:
    """A run that is killed at these moments ends with the files of one that never was. Returns them."""
    killed, never = place / "killed", place / "never"
    assert launch(words(never)) == 0
    for moment, count in kills:
        assert launch(words(killed), moment, count) == -9, f"the run ended before it could be killed {moment}"
    assert launch(words(killed)) == 0
    one, other = content(killed), content(never)
    assert list(one) == list(other)
    assert len(one["metrics.jsonl"]) == lines
    assert [name for name in one if one[name] != other[name]] == [], "these files differ"
    assert {path.name for path in never.iterdir()} >= FILES
    return one


@pytest.mark.parametrize(
    ("flags", "kills"),
    [
        (["--packing_samples"], KILLS[1:5]),
        pytest.param([], KILLS, marks=pytest.mark.proof),
        pytest.param(["--bf16", "--enable_ema"], KILLS, marks=pytest.mark.proof),
        pytest.param(["--fp16"], KILLS, marks=pytest.mark.proof),
        pytest.param(
            ["--lora_rank=4"], [kill for kill in KILLS if kill[0] != "in the final export"], marks=pytest.mark.proof
        ),
    ],
)
def test_a_run_killed_many_times_ends_as_one_never_killed(
    task: Any, launch: Launch, tmp_path: Path, flags: list[str], kills: Kills
) -> None:
    assert_ends_alike(launch, lambda folder: words(task, folder, *flags), kills, tmp_path, lines=10)

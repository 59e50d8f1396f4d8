"""The training of a reward model that is killed and started again ends with the bits of a run never killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from .test_sft_resume import FILES, content

Launch = Callable[..., int]

KILLS = [
    ("naming config.yaml", 1),
    ("in a line of the metrics", 3),
    ("after an optimiser step", 4),
    ("in the weights of a checkpoint", 1),
    ("between line and checkpoint", 1),
    ("rewinding the metrics", 1),
    ("after an optimiser step", 3),
    ("naming the final export", 1),
    ("naming the summary", 1),
]


@pytest.fixture(scope="module")
def judge(task: Any, tiny_model: Callable[..., Any]) -> Path:
    """The task's model with an embedding to spare, for a token to pad with."""
    folder: Path = task.folder / "judge"
    copytree(task.folder / "model", folder)
    tiny_model(vocab_size=18, eos_token_id=0).save_pretrained(folder)
    return folder


def words(judge: Path, folder: Path, *more: str) -> list[str]:
    """8 steps over two epochs of comparisons in an order of their own, looked at and kept every other step."""
    rows = judge.with_name("pairs.jsonl")
    pairs = [{"prompt": f"{i}+{i}=", "chosen": f"{2 * i}", "rejected": f"{i}" * (1 + i % 3)} for i in range(1, 17)]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in [*pairs, {"prompt": "1"}]))
    flags: dict[str, Any] = {
        "pretrain": judge,
        "train_data": rows,
        "eval_data": rows,
        "eval_max_samples": 5,
        "output_dir": folder,
        "train_batch_size": 4,
        "max_epochs": 2,
        "save_steps": 2,
        "eval_steps": 2,
        "learning_rate": 0.003,
        "lr_scheduler": "cosine",
    }
    return ["srm", *(f"--{name}={value}" for name, value in flags.items()), *more]


@pytest.mark.parametrize(
    ("flags", "kills"),
    [
        (["--pooling_method=attn"], KILLS[2:4]),
        pytest.param(["--save_hf_ckpt"], KILLS, marks=pytest.mark.proof),
        pytest.param(["--loss_type=uncertainty", "--bf16", "--enable_ema"], KILLS, marks=pytest.mark.proof),
        pytest.param(["--loss_type=hps", "--probing_layer=1", "--fp16"], KILLS, marks=pytest.mark.proof),
        pytest.param(["--lora_rank=4"], KILLS, marks=pytest.mark.proof),
    ],
)
def test_a_run_killed_many_times_ends_as_one_never_killed(
    judge: Path, launch: Launch, tmp_path: Path, flags: list[str], kills: list[tuple[str, int]]
) -> None:
    assert launch(words(judge, tmp_path / "never", *flags)) == 0
    killed = words(judge, tmp_path / "killed", *flags)
    for moment, count in kills:
        assert launch(killed, moment, count) == -9, f"the run ended before it could be killed {moment}"
    assert launch(killed) == 0
    one, other = content(tmp_path / "killed"), content(tmp_path / "never")
    assert list(one) == list(other)
    assert len(one["metrics.jsonl"]) == 9
    assert len(one["rejected.jsonl"].splitlines()) == 1
    assert [name for name in one if one[name] != other[name]] == [], "these files differ"
    assert {path.name for path in (tmp_path / "never").iterdir()} >= FILES

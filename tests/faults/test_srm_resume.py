"""The training of a reward model that is killed and started again ends with the bits of a run never killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from .test_sft_resume import KILLS as KILLS_OF_SFT
from .test_sft_resume import Kills, assert_ends_alike

Launch = Callable[..., int]

KILLS = [kill for kill in KILLS_OF_SFT if kill[0] != "in the final export"]


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
    judge: Path, launch: Launch, tmp_path: Path, flags: list[str], kills: Kills
) -> None:
    files = assert_ends_alike(launch, lambda folder: words(judge, folder, *flags), kills, tmp_path, lines=9)
    assert len(files["rejected.jsonl"].splitlines()) == 1

"""--save_hf_ckpt under kills, and under every way of holding models on two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from .test_ranks import HOLDINGS, launched

Launch = Callable[..., int]
AssertSame = Callable[[Path, Path], None]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_kill_while_the_model_is_written_leaves_no_half_of_it(task: Any, launch: Launch, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = task.words(run, "--save_hf_ckpt", "--max_steps=2")
    assert launch(words, "in the final export") == -9
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_2.unfinished"]
    assert launch(words) == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_2"]
    assert contents(run / "checkpoints" / "step_2" / "huggingface") == contents(run / "final")


@pytest.mark.proof
def test_killed_runs_have_the_models_of_one_never_killed(
    task: Any, launch: Launch, assert_same: AssertSame, tmp_path: Path
) -> None:
    words = task.words(tmp_path / "killed", "--save_hf_ckpt")
    for moment, count in (("in the final export", 2), ("naming a checkpoint", 2), ("removing an old checkpoint", 1)):
        assert launch(words, moment, count) == -9
    assert launch(words) == 0
    assert launch(task.words(tmp_path / "never killed", "--save_hf_ckpt")) == 0
    assert_same(tmp_path / "killed", tmp_path / "never killed")


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*HOLDINGS, "zero 1", "fsdp in bf16"])
def test_two_processes_write_it_and_one_exports_the_same(task: Any, tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    more = {"zero 1": ["--zero_stage=1"], "fsdp in bf16": ["--fsdp", "--bf16"]}
    run = tmp_path / "run"
    with launched(task.words(run, "--save_hf_ckpt", *(HOLDINGS | more)[name])) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    last, before = (run / "checkpoints" / f"step_{step}" / "huggingface" for step in (6, 4))
    assert contents(last) == contents(run / "final")
    assert contents(before)["model.safetensors"] != contents(last)["model.safetensors"]
    for step, folder in ((6, last), (4, before)):
        out = tmp_path / f"exported_{step}"
        subprocess.run(
            [sys.executable, "-m", "lightrft_apps", "export", str(run), str(out), f"--step={step}"], check=True
        )
        assert contents(out) == contents(folder)
    model = AutoModelForCausalLM.from_pretrained(before)
    ids = AutoTokenizer.from_pretrained(before)("1+1=", return_tensors="pt")
    assert model.dtype == (torch.bfloat16 if "bf16" in name else torch.float32)
    assert model(**ids).logits.isfinite().all()

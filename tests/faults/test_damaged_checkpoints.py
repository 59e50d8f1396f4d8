"""Two processes agree on which checkpoint is whole, and one of them tells which file is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .test_ranks import launched, metrics

pytestmark = pytest.mark.timeout(600)


def ended(words: list[str], code: int = 0) -> str:
    with launched(words) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return str(output)


@pytest.mark.proof
def test_what_one_process_finds_damaged_no_process_goes_on_from(task: Any, tmp_path: Path) -> None:
    run, weights = tmp_path / "run", "final/model.safetensors"
    words = task.words(run, "--max_steps=2", "--save_steps=1")
    ended(words)
    before, lines = (run / weights).read_bytes(), metrics(run)
    (run / "summary.json").unlink()
    step_1, step_2 = (run / "checkpoints" / f"step_{step}" for step in (1, 2))
    assert json.loads((step_2 / "trainer.json").read_text())["step"] == 2
    tensors = step_2 / "policy" / "tensors_00001.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-2] + b"\xff\xff")
    output = ended([*words, "--max_ckpt_num=1"])
    assert output.count(f"{tensors} is damaged: its checksum does not match") == 1
    assert output.count("goes on from step_1, and the damaged one is kept as step_2.damaged") == 1
    assert ((run / weights).read_bytes(), metrics(run)) == (before, lines)
    assert [path.name for path in step_1.parent.iterdir()] == ["step_2"]

    (run / "summary.json").unlink()
    state = step_2 / "trainer.json"
    state.write_text(state.read_text().replace('"step": 2', '"step": 1'))
    output = ended(words, code=1)
    assert output.count(f"no checkpoint in {step_2.parent} is whole:") == 1 and str(state) in output
    assert step_2.exists() and metrics(run) == lines

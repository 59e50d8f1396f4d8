"""What a person can do something about ends the command with a message and code 1; a defect keeps its traceback."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from torch import OutOfMemoryError

from lightrft_apps.config import RLConfig, SFTConfig
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.failures import explained

Command = Callable[..., Any]
FLAGS = {
    name: "".join(f"--{flag} " for flag in fields_of(config))
    for name, config in (("rl", RLConfig), ("sft", SFTConfig), ("eval", EvalCommand))
}


def test_an_expected_failure_is_its_message_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    from lightrft_core import TrainingDiverged

    with pytest.raises(SystemExit) as end, explained("lightrft rl"):
        raise TrainingDiverged("5 optimiser steps in a row skipped")
    assert end.value.code == 1
    assert capsys.readouterr() == ("", "lightrft rl: 5 optimiser steps in a row skipped\n")


@pytest.mark.parametrize("command", ["rl", "quickstart", "compare", "launch"])
def test_an_interrupt_says_how_to_go_on(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, explained(f"lightrft {command}"):
        raise KeyboardInterrupt
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert (
        "the same command goes on from the newest checkpoint, or begins again where --save_steps has made none" in said
    )


@pytest.mark.parametrize("command", ["export", "import", "merge-lora", "eval", "plan"])
def test_of_a_command_without_checkpoints_none_are_spoken_of(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out")
    for error in (KeyboardInterrupt(), full):
        with pytest.raises(SystemExit), explained(f"lightrft {command}"):
            raise error
    name = f"lightrft {command}"
    assert capsys.readouterr().err == f"\n{name}: interrupted\n{name}: {full}; make room\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["python", "quota", "safetensors"],
)
def test_a_full_disk_is_said_whichever_library_meets_it(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, explained("lightrft rl"):
        raise error
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "make room, or keep fewer checkpoints (--max_ckpt_num), and the same command goes on" in said


@pytest.mark.parametrize(
    ("command", "error", "advice"),
    [
        ("rl", OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "lower --max_tokens_per_micro_batch"),
        ("eval", OutOfMemoryError("CUDA out of memory."), "set --bf16, lower --micro_rollout_batch_size"),
        ("sft", PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs/first"), "such as another --output_dir"),
    ],
    ids=["memory of a run", "memory of answers", "permission"],
)
def test_what_the_machine_refuses_is_one_line_with_advice(
    command: str, error: Exception, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, explained(f"lightrft {command}"):
        raise error
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.startswith(f"lightrft {command}: {error}; ") and said.count("\n") == 1
    assert advice in said and all(f"{flag} " in FLAGS[command] for flag in re.findall(r"--\w+", said))


def test_held_out_prompts_that_cannot_be_used_are_named_by_their_flag(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "heldout.jsonl").write_text('{"question": "1+1"}\n')
    ended = lightrft("rl", **flags, eval_dataset=str(tmp_path / "heldout.jsonl"))
    assert ended.code == 1
    assert "or the flag that reads them (--eval_dataset, --input_key, --prompt_max_len)" in ended.err


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), explained("lightrft rl"):
        print(1 // 0)


def test_a_reward_file_that_is_not_there_is_found_before_anything_is_written(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("rl", **flags | {"reward_fn": f"{tmp_path / 'reword.py'}:score"})
    assert ended.code == 2
    assert ended.err.startswith("lightrft rl: --reward_fn ")
    assert "there is no file" in ended.err
    assert not (tmp_path / "run").exists()


def test_a_reward_file_that_does_not_load_is_named_with_its_line(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "reward.py").write_text("import json\nimport nothing_of_that_name\n")
    ended = lightrft("rl", **flags)
    assert ended.code == 1
    assert "reward.py" in ended.err
    assert "nothing_of_that_name" in ended.err
    assert "Traceback" not in ended.err


def test_data_without_one_usable_row_is_refused_and_its_rows_kept(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"question": "1+1"}\nnot json\n{"input": 3}\n')
    ended = lightrft("rl", **flags)
    assert ended.code == 1
    assert "not one of its 3 rows can be used" in ended.err
    assert "Traceback" not in ended.err
    rejected = [json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rejected] == [1, 2, 3]


def test_rows_that_cannot_be_used_are_counted_and_kept(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write('{"question": "1+1"}\n')
    ended = lightrft("rl", **flags)
    assert ended.code == 0
    assert "warning: 1 rows could not be used" in ended.err
    (row,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert (row["row"], row["content"]) == (9, {"question": "1+1"})
    assert row["reason"]


def test_rewards_that_mostly_fail_stop_the_run_and_a_repaired_one_goes_on(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    reward = tmp_path / "reward.py"
    working = reward.read_text()
    reward.write_text("def score(prompts, responses, labels):\n    return [1 / 0 for _ in responses]\n")
    ended = lightrft("rl", **flags)
    assert ended.code == 1
    assert "step 1: 8 of 8 samples could not be judged" in ended.err
    assert "division by zero" in ended.err
    assert "--max_reward_error_share" in ended.err
    assert "Traceback" not in ended.err
    reward.write_text(working)
    assert lightrft("rl", **flags).code == 0


def test_a_model_that_cannot_be_loaded_is_named_by_its_flag(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ended = lightrft("rl", **flags | {"pretrain": str(tmp_path / "empty")})
    assert ended.code == 1
    assert ended.err.startswith(f"lightrft rl: --pretrain {tmp_path / 'empty'} cannot be loaded: ")
    assert "Traceback" not in ended.err


def test_a_model_ruined_by_its_learning_rate_is_called_that(flags: dict[str, Any], lightrft: Command) -> None:
    ended = lightrft("rl", **flags | {"actor_learning_rate": 1e30})
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("lightrft rl: the model's logits are not numbers")
    assert "--actor_learning_rate" in ended.err
    assert "Traceback" not in ended.err

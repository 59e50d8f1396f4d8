"""A run whose newest checkpoint was damaged says which file, and goes on from the newest that is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.diagnosis.run_files import size_of
from lightrft_strategy.checkpoints import checkpoints

from .bytes_of_files import checksums_read

Command = Callable[..., Any]
TRAINER, TENSORS = "trainer.json", "policy/tensors_00000.safetensors"


def another_step(content: bytes) -> bytes:
    """The state of a run that took nine updates more, as long as it was."""
    changed = content.replace(b'"optimiser_steps": 2', b'"optimiser_steps": 9')
    assert changed != content
    return changed


def flipped(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "another state": (TRAINER, another_step, "is damaged: its checksum does not match"),
    "no JSON": (TRAINER, lambda content: b"[" + content[1:], "is damaged: its checksum does not match"),
    "a flipped bit": (TENSORS, flipped, "is damaged: its checksum does not match"),
    "a lost end": (TENSORS, lambda content: content[:-1], "was written with"),
    "a broken manifest": ("manifest.json", flipped, "is damaged: it is not JSON"),
}


@pytest.fixture
def run(flags: dict[str, Any], lightrft: Command, tmp_path: Path) -> Path:
    """The folder of a run of two steps, with a checkpoint of each, that has not come to its summary."""
    folder = tmp_path / "run"
    ended = lightrft("rl", **flags, save_steps=1)
    assert ended.code == 0, ended.err
    (folder / "summary.json").unlink()
    return folder


def damage(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def learnt(folder: Path) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """The final weights, where the run stands, and its metrics but for those of clock and memory."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    numbers = [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]
    state = folder / "checkpoints" / "step_2" / TRAINER
    return (folder / "final" / "model.safetensors").read_bytes(), state.read_bytes(), numbers


@pytest.mark.parametrize(("kind", "kept"), [*((kind, 1) for kind in DAMAGES), ("a flipped bit", 3)])
def test_a_run_names_the_damaged_file_and_goes_on_from_the_checkpoint_before(
    flags: dict[str, Any], lightrft: Command, run: Path, kind: str, kept: int
) -> None:
    file, change, words = DAMAGES[kind]
    before, bad = learnt(run), damage(run / "checkpoints" / "step_2" / file, change)
    ended = lightrft("rl", **flags, save_steps=1, max_ckpt_num=kept)
    assert ended.code == 0, ended.err
    (warning,) = [line for line in ended.err.splitlines() if str(bad) in line]
    assert warning.startswith(f"warning: {bad} ") and words in warning
    assert warning.endswith("goes on from step_1, and the damaged one is kept as step_2.damaged")
    assert "going on after step 1" in ended.err
    assert learnt(run) == before
    assert list(checkpoints(run / "checkpoints")) == [1, 2][-kept:]
    assert not (run / "checkpoints" / "step_2.damaged").exists(), "the run has passed it"


def test_a_checkpoint_put_aside_goes_before_the_others_when_they_take_more_than_allowed(
    flags: dict[str, Any], lightrft: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    flags |= {"rollout_batch_size": 2, "save_steps": 1, "max_ckpt_num": 9}
    assert lightrft("rl", **flags).code == 0
    (tmp_path / "run" / "summary.json").unlink()
    one = max(size_of(path) for path in folder.iterdir())
    for step in (3, 4):
        damage(folder / f"step_{step}" / TENSORS, flipped)
    ended = lightrft("rl", **flags, max_ckpt_mem=3.5 * one / 1e9)
    assert ended.code == 0, ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("warning:")]
    kept = "and the damaged one is kept as step_{}.damaged, while --max_ckpt_mem has room for it"
    assert [line.endswith(kept.format(step)) for line, step in zip(lines, (4, 3), strict=False)] == [True, True]
    gone = f"{folder / 'step_4.damaged'} has been removed: --max_ckpt_mem has no room for it beside the checkpoints"
    assert lines[2:] == [f"warning: step 3: {gone}"]
    assert sorted(path.name for path in folder.iterdir()) == ["step_2", "step_3", "step_4"]


def test_without_a_whole_checkpoint_the_run_ends_with_the_names_of_the_files_and_nothing_is_lost(
    flags: dict[str, Any], lightrft: Command, run: Path
) -> None:
    bad = [
        damage(run / "checkpoints" / "step_2" / TRAINER, another_step),
        damage(run / "checkpoints" / "step_1" / TENSORS, flipped),
    ]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ended = lightrft("rl", **flags, save_steps=1, max_ckpt_num=1)
    assert ended.code == 1 and "Traceback" not in ended.err
    assert f"lightrft rl: no checkpoint in {run / 'checkpoints'} is whole:\n" in ended.err
    assert [line.split(" is damaged")[0].strip() for line in ended.err.splitlines() if "damaged" in line] == [
        *map(str, bad)
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_each_file_of_a_checkpoint_is_read_once_for_its_checksum(
    flags: dict[str, Any], lightrft: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = checksums_read(run / "checkpoints" / "step_2", monkeypatch)
    ended = lightrft("rl", **flags, save_steps=1)
    assert ended.code == 0, ended.err
    assert read == {TENSORS: 1, "policy/manifest.json": 1, TRAINER: 1}


def test_a_supervised_run_does_so_too(flags: dict[str, Any], lightrft: Command, tmp_path: Path) -> None:
    rows, run = tmp_path / "answers.jsonl", tmp_path / "run"
    rows.write_text("".join(json.dumps({"input": f"{i}+{i}=", "output": str(2 * i)}) + "\n" for i in range(8)))
    words = {"pretrain": flags["pretrain"], "dataset": rows, "output_dir": run, "train_batch_size": 4, "save_steps": 1}
    assert lightrft("sft", **words).code == 0
    (run / "summary.json").unlink()
    before, bad = learnt(run), damage(run / "checkpoints" / "step_2" / TRAINER, another_step)
    ended = lightrft("sft", **words, max_ckpt_num=1)
    assert ended.code == 0, ended.err
    assert f"warning: {bad} is damaged: its checksum does not match" in ended.err
    assert learnt(run) == before

"""A run on disk: whose it is, who may use it, and what it is like afterwards."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from lightrft_apps import RLConfig, train
from lightrft_apps.recording.directory import RunDirectoryError, in_use, open_run
from lightrft_strategy.checkpoints import checkpoints, write_checkpoint

ASKS_FOR_THE_LOCK = """
import fcntl

def score(prompts, responses, labels):
    with open({lock!r}, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return [1.0 for _ in responses]
    return [0.0 for _ in responses]
"""


def no_difference(path: Path) -> Mapping[str, tuple[Any, Any]]:
    return {}


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file but the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def numbers(metrics: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


def test_another_configuration_is_refused_with_every_setting_that_differs(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    train(RLConfig.create(**flags))
    before = everything(tmp_path / "run")
    ended = lightrft("rl", **flags | {"seed": 7, "temperature": 0.5, "save_steps": 1})
    assert ended.code == 1
    assert ended.err == (
        f"lightrft rl: {tmp_path / 'run'} holds a run with another configuration:\n"
        "  --temperature: 1.0 there, 0.5 now\n"
        "  --seed: 42 there, 7 now\n"
        "Choose another --output_dir, or repeat the settings of that run to resume it.\n"
    )
    assert everything(tmp_path / "run") == before


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    ended = lightrft("rl", **flags)
    assert ended.code == 1
    assert "is not empty and holds no run (found thesis.tex): choose another --output_dir" in ended.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_run_in_use_is_refused_until_it_is_let_go(tmp_path: Path) -> None:
    run, resuming = open_run(tmp_path, no_difference)
    assert not resuming
    with pytest.raises(RunDirectoryError, match="in use by another process: wait for it"):
        open_run(tmp_path, no_difference)
    run.close()
    open_run(tmp_path, no_difference)[0].close()


def test_who_looks_whether_a_run_is_in_use_keeps_none_from_beginning(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    looking = (tmp_path / ".lock").open("r")
    fcntl.flock(looking, fcntl.LOCK_SH)
    Timer(0.05, looking.close).start()
    run, _ = open_run(tmp_path, no_difference)
    assert in_use(run)
    run.close()
    assert not in_use(run)


def test_other_processes_find_the_directory_locked_while_the_run_runs(flags: dict[str, Any], tmp_path: Path) -> None:
    reward = tmp_path / "reward.py"
    reward.write_text(ASKS_FOR_THE_LOCK.format(lock=str(tmp_path / "run" / ".lock")))
    assert train(RLConfig.create(**flags))["rewards"] == [1.0, 1.0]


def test_a_refused_directory_can_be_used_at_once_with_the_right_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(RunDirectoryError, match="--seed: 1 there, 2 now") as kept:
        open_run(tmp_path, lambda path: {"seed": (1, 2)})
    run, resuming = open_run(tmp_path, no_difference)
    assert resuming
    run.close()
    assert kept.tb is not None


def test_settings_that_could_not_even_begin_may_be_corrected(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    failed = lightrft("rl", **flags | {"input_key": "inptu"})
    assert failed.code == 1
    assert (tmp_path / "run" / "config.yaml").exists()
    assert (tmp_path / "run" / "rejected.jsonl").exists()
    assert lightrft("rl", **flags).code == 0
    assert RLConfig.from_file(tmp_path / "run" / "config.yaml") == RLConfig.create(**flags)
    assert (tmp_path / "run" / "rejected.jsonl").read_text() == ""


def test_a_run_that_came_to_nothing_makes_way_with_all_that_it_wrote_before_its_reward_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n_record: {}\n")
    for name in ("judge.json", "warnings.jsonl", "rejected.jsonl", "progress.json", "trackers.json"):
        (tmp_path / name).write_text("{}\n")
    run, resuming = open_run(tmp_path, no_difference)
    run.close()
    assert resuming and run.judge.exists()
    run, resuming = open_run(tmp_path, lambda path: {"seed": (1, 2)})
    run.close()
    assert not resuming
    assert not run.judge.exists(), "the new run may train no judge"
    (tmp_path / "verdicts.jsonl").touch()
    with pytest.raises(RunDirectoryError, match="--seed: 1 there, 2 now"):
        open_run(tmp_path, lambda path: {"seed": (1, 2)})


def test_a_configuration_written_by_hand_is_not_overwritten(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = tmp_path / "run" / "config.yaml"
    recipe.parent.mkdir()
    recipe.write_text("seed: 1  # my lucky number\n" + "".join(f"{name}: {value}\n" for name, value in flags.items()))
    ended = lightrft("rl", config=recipe, seed=2)
    assert ended.code == 1
    assert "--seed: 1 there, 2 now" in ended.err
    assert "lucky" in recipe.read_text()


def test_a_kill_while_the_configuration_was_written_leaves_a_directory_for_a_new_run(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.12345").write_text("pretrain: mod")
    run, resuming = open_run(tmp_path, no_difference)
    run.close()
    assert not resuming
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_going_on_forgets_what_came_after_the_newest_checkpoint(tmp_path: Path) -> None:
    run, _ = open_run(tmp_path, no_difference)
    for step in (9, 10):
        write_checkpoint(run.checkpoints, step, lambda folder: (folder / "state").touch(), keep=2)
    (run.checkpoints / "step_11.unfinished").mkdir()
    whole = "".join(json.dumps({"step": step}) + "\n" for step in range(12))
    run.metrics.write_text(whole + '{"step": 1')
    run.trajectories.mkdir()
    for name in ("eval_000000", "step_000010", "eval_000010", "step_000011", "eval_000012"):
        (run.trajectories / f"{name}.parquet").touch()
    assert run.rewind(run.checkpoints / "step_10") == []
    assert [line["step"] for line in numbers(run.metrics)] == list(range(11))
    left = sorted(path.stem for path in run.trajectories.iterdir())
    assert left == ["eval_000000", "eval_000010", "step_000010"]
    run.close()


def test_what_is_newer_than_the_checkpoint_to_go_on_from_is_put_aside(tmp_path: Path) -> None:
    run, _ = open_run(tmp_path, no_difference)
    for step in (8, 9, 10):
        write_checkpoint(run.checkpoints, step, lambda folder: (folder / "state").write_text("all"), keep=3)
    run.metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(12)))
    assert run.rewind(run.checkpoints / "step_8") == [run.checkpoints / f"step_{step}.damaged" for step in (10, 9)]
    run.close()
    assert list(checkpoints(run.checkpoints)) == [8]
    assert [line["step"] for line in numbers(run.metrics)] == list(range(9))


def test_without_a_checkpoint_everything_is_forgotten(tmp_path: Path) -> None:
    run, _ = open_run(tmp_path, no_difference)
    assert run.rewind(None) == []
    run.metrics.write_text('{"step": 0}\n{"step": 1}\n')
    run.trajectories.mkdir()
    (run.trajectories / "eval_000000.parquet").touch()
    assert run.rewind(None) == []
    assert run.metrics.read_text() == ""
    assert list(run.trajectories.iterdir()) == []
    run.close()


def test_a_finished_run_started_again_only_tells_how_it_went(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    first = lightrft("rl", **flags)
    before = everything(tmp_path / "run")
    again = lightrft("rl", **flags)
    assert (first.code, again.code) == (0, 0)
    assert everything(tmp_path / "run") == before
    assert again.err == first.err[-len(again.err) :]
    assert again.err.startswith("reward")
    assert "2 steps" in again.err
    late = lightrft("rl", **flags, save_hf_ckpt="true")
    warning = "warning: the run is finished, so --save_hf_ckpt does nothing: lightrft export "
    assert (late.code, late.err.startswith(warning), late.err.endswith(again.err)) == (0, True, True), late.err
    assert everything(tmp_path / "run") == before


def test_the_stored_configuration_replays_the_run(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    train(RLConfig.create(**flags, seed=3, max_epochs=2))
    replay = tmp_path / "replay"
    ended = lightrft("rl", config=tmp_path / "run" / "config.yaml", output_dir=replay)
    assert ended.code == 0
    assert numbers(replay / "metrics.jsonl") == numbers(tmp_path / "run" / "metrics.jsonl")
    weights = "final/model.safetensors"
    assert (replay / weights).read_bytes() == (tmp_path / "run" / weights).read_bytes()


def test_a_tilde_in_the_configuration_means_the_home_folder(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(flags["pretrain"])
    home = {"pretrain": "~/model", "prompt_data": "~/prompts.jsonl", "reward_fn": "~/reward.py:score"}
    train(RLConfig.create(**flags | home | {"output_dir": "~/run"}))
    assert (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "~").exists()

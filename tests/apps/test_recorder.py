"""What a run writes down: a metrics line a step, trajectories, checkpoints, and words to the person at the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from lightrft_apps import RLConfig, train
from lightrft_apps.recording.directory import RunDirectory, open_run
from lightrft_apps.recording.progress import Progress
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_strategy.placement import Placement
from lightrft_strategy.roofline import Roofline


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    opened, _ = open_run(tmp_path / "run", lambda path: {})
    yield opened
    opened.close()


def recorder(run: RunDirectory, **settings: Any) -> RunRecorder:
    progress = Progress(num_steps=3, done=0, answers=2, live=False)
    usual = {"placement": Placement(), "roofline": Roofline(1000, 10, 1e6), "keep": 2, "save_trajectories": True}
    return RunRecorder(run, progress, **usual | settings)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_has_one_line_a_step_with_rewards_and_times(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags, eval_dataset=flags["prompt_data"]))
    before, *steps = lines(tmp_path / "run")
    assert before["step"] == 0
    assert {"eval/accuracy", "eval/length_mean", "time/evaluate", "time/step"} <= before.keys()
    assert "reward/mean" not in before
    assert [line["step"] for line in steps] == [1, 2]
    phases = {"sample", "judge", "optimise", "publish"}
    for line in steps:
        assert 0 < line["reward/mean"] < 1
        assert 0 < sum(line[f"time/{phase}"] for phase in phases) <= line["time/step"]
        assert {"time/cpu", "time/tokens_per_second", "policy/loss", "rollout/length_mean"} <= line.keys()
        for phase in phases:
            assert line[f"memory/{phase}_peak_gib"] > 0
            assert min(line[f"memory/{phase}_before_gib"], line[f"memory/{phase}_after_gib"]) > 0
        assert 0 <= line["rollout/bubble_ratio"] < 1
        assert 0 < line["time/bandwidth_utilisation"] < 1
    assert "eval/accuracy" not in steps[0]
    assert "eval/accuracy" in steps[1]


def test_every_number_of_the_metrics_can_be_read_by_strict_json(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_phase_entered_twice_in_a_step_is_timed_as_one(run: RunDirectory) -> None:
    notes = recorder(run)
    for _ in range(2):
        with notes.phase("judge", 1):
            sum(range(10**5))
    notes.record(1, {}, [])
    notes.record(2, {}, [])
    first, second = lines(run.path)
    assert 0 < first["time/judge"] <= first["time/step"]
    assert "time/judge" not in second


def test_tokens_per_second_are_those_of_sampling_alone(run: RunDirectory, build_group: Callable[..., Any]) -> None:
    notes = recorder(run)
    with notes.phase("sample", 1):
        sum(range(10**5))
    with notes.phase("optimise", 1):
        sum(range(10**6))
    metrics = {"reward/mean": 0.5, "rollout/length_mean": 2.5, "group/zero_signal_share": 0}
    notes.record(1, metrics, [build_group([1], [[2, 3, 4], [5, 6]], [1.0, 0.0])])
    (line,) = lines(run.path)
    assert line["time/tokens_per_second"] == pytest.approx(5 / line["time/sample"])


def test_trajectories_can_be_left_out(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags, eval_dataset=flags["prompt_data"], save_trajectories=False))
    assert not (tmp_path / "run" / "trajectories").exists()
    assert len(lines(tmp_path / "run")) == 3


def test_only_the_newest_checkpoints_are_kept(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags, num_episodes=2, save_steps=1, max_ckpt_num=3))
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["step_2", "step_3", "step_4"]


def test_without_save_steps_there_is_one_checkpoint_at_the_end(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags))
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_2"]


def test_warnings_name_their_step_on_stderr(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    recorder(run).warn(7, "entropy collapsed to [0.001]")
    assert capsys.readouterr() == ("", "warning: step 7: entropy collapsed to [0.001]\n")


def test_warnings_are_kept_but_for_those_of_steps_that_are_done_again(run: RunDirectory) -> None:
    notes = recorder(run)
    notes.checkpoint(2, lambda folder: None)
    for step, warning in ((1, "first"), (2, "odd \x1b \udc80"), (3, "forgotten")):
        notes.warn(step, warning)
    run.rewind(run.checkpoints / "step_2")
    kept = [json.loads(line) for line in run.warnings.read_text().splitlines()]
    assert kept == [{"step": 1, "warning": "first"}, {"step": 2, "warning": "odd \x1b \udc80"}]


class Threads:
    """Ranks that are threads. A rank that gathers alone gets a BrokenBarrierError in the end."""

    world_size = 2

    def __init__(self) -> None:
        self.barrier = Barrier(2, timeout=60)
        self.given: list[list[Any]] = [[], []]

    def rank(self, rank: int) -> Any:
        class One:
            world_size = self.world_size

            def gather(_, items: Sequence[Any]) -> list[Any]:
                self.given[rank] = list(items)
                self.barrier.wait()
                everything = self.given[0] + self.given[1]
                self.barrier.wait()
                return everything

        one = One()
        vars(one)["rank"] = rank
        return one


def test_a_rank_that_cannot_save_ends_all_of_them_at_the_same_collective(run: RunDirectory) -> None:
    exported: list[Path] = []

    def checkpoint(rank: int) -> str:
        def save(folder: Path) -> None:
            if rank == 0:
                raise ValueError("no pen")

        notes = recorder(run, ranks=threads.rank(rank), export=exported.append)
        with pytest.raises(ValueError, match="no pen") as told:
            notes.checkpoint(1, save)
        return str(told.value)

    threads = Threads()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(checkpoint, range(2))) == ["no pen", "rank 0: no pen"]
    assert exported == []

"""Runs of several real processes: the same run as one process, whatever holds the model; a lost rank is named."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from .launched import CLOSE, alive, launched, metrics, ranks_of

pytestmark = pytest.mark.timeout(600)

REPORT = Path(__file__).parents[2] / "docs" / "benchmarks" / "lost_ranks.json"

HOLDINGS = {
    "whole": [],
    "fsdp": ["--fsdp"],
    "zero 2": ["--zero_stage=2"],
    "zero 3": ["--zero_stage=3"],
    "slices of layers": ["--tp_size=2", "--fsdp"],
    "slices of layers beside zero": ["--tp_size=2", "--zero_stage=2"],
    "slices of rows": ["--sp_size=2", "--packing_samples"],
    "slices of rows in shards": ["--sp_size=2", "--packing_samples", "--fsdp"],
    "slices of rows on a ring": ["--ring_attn_size=2", "--packing_samples"],
}


@dataclass(frozen=True)
class BrokenOff:
    """A run that lost a rank. seconds: from then to the end of all others."""

    folder: Path
    ranks: list[psutil.Process]
    output: str
    code: int
    seconds: float


def broken_off_after(
    step: int, task: Any, folder: Path, flags: list[str], processes: int = 2, lost: int = 1
) -> BrokenOff:
    """A long run, one of whose ranks is killed after a step."""
    words = task.words(folder, *flags, "--max_steps=200", "--num_episodes=200")
    with launched(words, processes=processes) as process:
        ranks = ranks_of(process, folder, step)
        assert len(ranks) == processes
        ranks[lost].send_signal(signal.SIGKILL)
        started = time.monotonic()
        output, _ = process.communicate(timeout=240)
        return BrokenOff(folder, ranks, output, process.returncode, time.monotonic() - started)


def assert_told(ended: BrokenOff, lost: int) -> None:
    """It ended within a minute, with an error that names rank and phase; nobody was left behind."""
    assert ended.seconds < 60, "200 steps would take longer"
    assert ended.code != 0
    assert not alive(ended.ranks)
    assert f"a rank is lost: rank {lost} (process {ended.ranks[lost].pid}" in ended.output
    assert " of step " in ended.output.split("last seen in: ")[1]


@pytest.fixture(scope="module")
def alone(task: Any, launch: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert launch(task.words(folder)) == 0
    return folder


@pytest.mark.proof
@pytest.mark.parametrize("name", HOLDINGS)
def test_two_processes_do_the_run_of_one(task: Any, alone: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    with launched(task.words(folder, *HOLDINGS[name])) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    mine, theirs = metrics(folder), metrics(alone)
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one == pytest.approx(other, **CLOSE)
    weights, expected = (load_file(path / "final" / "model.safetensors") for path in (folder, alone))
    assert weights.keys() == expected.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-2, atol=2e-3)
    assert output.count("step    6") == 1, "the first process alone talks"


@pytest.fixture(scope="module")
def broken_off(task: Any, tmp_path_factory: pytest.TempPathFactory) -> BrokenOff:
    """A run of two processes in shards, of which the second was killed after the sixth step."""
    return broken_off_after(6, task, tmp_path_factory.mktemp("broken") / "run", ["--fsdp"])


def test_two_processes_take_the_steps_of_one(alone: Path, broken_off: BrokenOff) -> None:
    mine, theirs = metrics(broken_off.folder)[:7], metrics(alone)
    assert [line["step"] for line in mine] == [0, 1, 2, 3, 4, 5, 6]
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one == pytest.approx(other, **CLOSE)
    assert broken_off.output.count("step    6") == 1, "the first process alone talks"


def test_when_a_rank_is_killed_the_others_end_within_a_minute_and_name_it(broken_off: BrokenOff) -> None:
    assert_told(broken_off, 1)


def test_when_a_rank_with_slices_of_layers_is_killed_the_other_ends_within_a_minute_and_names_it(
    task: Any, tmp_path: Path
) -> None:
    assert_told(broken_off_after(1, task, tmp_path / "run", HOLDINGS["slices of layers"]), 1)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_whichever_rank_is_killed_all_others_end_within_a_minute_and_name_it(task: Any, tmp_path: Path) -> None:
    """Writes docs/benchmarks/lost_ranks.json."""
    runs = []
    for holding in ("whole", "fsdp", "zero 2", "zero 3", "slices of layers", "slices of layers beside zero"):
        for processes, lost in ((2, 0), (4, 3)):
            folder = tmp_path / f"{holding}, {lost} of {processes}"
            ended = broken_off_after(1, task, folder, HOLDINGS[holding], processes, lost)
            assert_told(ended, lost)
            runs.append({"flags": HOLDINGS[holding], "ranks": processes, "killed": lost, "seconds": ended.seconds})
    report = {
        "what": "runs of which one rank is killed by SIGKILL: seconds until all others have ended with an error that "
        "names rank and phase",
        "most_seconds": max(run["seconds"] for run in runs),
        "torch": version("torch"),
        "runs": runs,
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n")


@pytest.mark.proof
def test_a_launcher_that_may_begin_again_goes_on_by_itself(task: Any, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with launched(task.words(folder), "--max_restarts=1") as process:
        ranks_of(process, folder, 3)[1].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    for one, other in zip(metrics(folder), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)


@pytest.mark.proof
def test_a_run_begun_in_shards_goes_on_in_one_process(task: Any, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with launched(task.words(folder, "--fsdp")) as process:
        ranks_of(process, folder, 3)[0].send_signal(signal.SIGKILL)
        process.communicate(timeout=240)
    assert not (folder / "summary.json").exists()
    subprocess.run([sys.executable, "-m", "lightrft_apps", *task.words(folder)], check=True)
    for one, other in zip(metrics(folder), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)

"""Runs of several real processes: the same run as one process, whatever holds the model; a lost rank is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.timeout(600)

CLOSE = {"rel": 2e-3, "abs": 2e-4}
"""Float32 through six steps of AdamW, whose first ones divide by tiny moments."""

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
    """A run that lost a rank. seconds: from then to its end."""

    folder: Path
    ranks: list[psutil.Process]
    output: str
    code: int
    seconds: float


@contextmanager
def launched(words: list[str], *launcher: str, processes: int = 2) -> Iterator[subprocess.Popen[str]]:
    """The installed command in so many processes; ended with the block."""
    command = [sys.executable, "-m", "lightrft_apps", "launch", f"--nproc_per_node={processes}", *launcher, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                child.kill()
            process.kill()


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


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


def first_children(process: subprocess.Popen[str], folder: Path, step: int) -> list[psutil.Process]:
    """The ranks of a launched run, by rank, once it has finished a step."""
    deadline = time.monotonic() + 240
    while not (folder / "metrics.jsonl").exists() or len(metrics(folder)) <= step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = [child for child in psutil.Process(process.pid).children() if "RANK" in child.environ()]
    return sorted(children, key=lambda child: int(child.environ()["RANK"]))


@pytest.fixture(scope="module")
def broken_off(task: Any, tmp_path_factory: pytest.TempPathFactory) -> BrokenOff:
    """A long run of two processes in shards, of which the second was killed after the sixth step."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    with launched(task.words(folder, "--fsdp", "--max_steps=200", "--num_episodes=200")) as process:
        ranks = first_children(process, folder, 6)
        ranks[1].send_signal(signal.SIGKILL)
        started = time.monotonic()
        output, _ = process.communicate(timeout=240)
        return BrokenOff(folder, ranks, output, process.returncode, time.monotonic() - started)


def test_two_processes_take_the_steps_of_one(alone: Path, broken_off: BrokenOff) -> None:
    mine, theirs = metrics(broken_off.folder)[:7], metrics(alone)
    assert [line["step"] for line in mine] == [0, 1, 2, 3, 4, 5, 6]
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one == pytest.approx(other, **CLOSE)
    assert broken_off.output.count("step    6") == 1, "the first process alone talks"


def test_when_a_rank_is_killed_the_others_end_soon_and_name_it(broken_off: BrokenOff) -> None:
    victim = broken_off.ranks[1]
    assert broken_off.seconds < 100, "200 steps would take longer"
    assert broken_off.code != 0
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in broken_off.ranks)
    assert f"rank 1 (process {victim.pid}" in broken_off.output
    assert " of step " in broken_off.output.split("last seen in: ")[1]


@pytest.mark.parametrize(
    ("holding", "processes"),
    [
        ("slices of layers", 2),
        *(
            pytest.param(holding, processes, marks=pytest.mark.proof)
            for holding, processes in (("slices of layers", 4), *(("slices of layers beside zero", n) for n in (2, 4)))
        ),
    ],
)
def test_when_a_rank_with_slices_of_layers_is_killed_all_others_end_soon_and_name_it(
    task: Any, tmp_path: Path, holding: str, processes: int
) -> None:
    words = task.words(tmp_path / "run", *HOLDINGS[holding], "--max_steps=200", "--num_episodes=200")
    with launched(words, processes=processes) as process:
        ranks = first_children(process, tmp_path / "run", 1)
        assert len(ranks) == processes
        ranks[-1].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    assert f"rank {processes - 1} (process {ranks[-1].pid}" in output
    assert " of step " in output.split("last seen in: ")[1]


@pytest.mark.proof
def test_a_launcher_that_may_begin_again_goes_on_by_itself(task: Any, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with launched(task.words(folder), "--max_restarts=1") as process:
        first_children(process, folder, 3)[1].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    for one, other in zip(metrics(folder), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)


@pytest.mark.proof
def test_a_run_begun_in_shards_goes_on_in_one_process(task: Any, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with launched(task.words(folder, "--fsdp")) as process:
        first_children(process, folder, 3)[0].send_signal(signal.SIGKILL)
        process.communicate(timeout=240)
    assert not (folder / "summary.json").exists()
    subprocess.run([sys.executable, "-m", "lightrft_apps", *task.words(folder)], check=True)
    for one, other in zip(metrics(folder), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)

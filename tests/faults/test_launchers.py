"""The scripts for Slurm and Ray on two nodes, which this machine plays: one run, which makes up for a lost rank.

Neither Slurm nor Ray is here: `stand_ins` has as much of them as the scripts call.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from .launched import CLOSE, alive, begun, metrics, ranks_of

pytestmark = pytest.mark.timeout(600)

LAUNCH = Path(__file__).parents[2] / "examples" / "launch"
STAND_INS = Path(__file__).with_name("stand_ins")


def by_slurm(words: list[str]) -> AbstractContextManager[Popen[str]]:
    """slurm.sh on two nodes of one device, as sbatch runs it."""
    job = {"JOB_ID": str(os.getpid()), "JOB_NODELIST": "node[0-1]", "JOB_NUM_NODES": "2", "GPUS_ON_NODE": "1"}
    path = os.pathsep.join([str(STAND_INS), str(Path(sys.executable).parent), os.environ["PATH"]])
    return begun(["bash", str(LAUNCH / "slurm.sh"), *words], {f"SLURM_{k}": v for k, v in job.items()} | {"PATH": path})


def by_ray(words: list[str], *flags: str) -> AbstractContextManager[Popen[str]]:
    """ray_train.py on two nodes of one device."""
    launcher = [
        sys.executable,
        str(LAUNCH / "ray_train.py"),
        "--nodes=2",
        "--nproc_per_node=1",
        "--resource=CPU",
        *flags,
    ]
    path = os.pathsep.join([str(STAND_INS), os.environ.get("PYTHONPATH", "")])
    return begun([*launcher, "--", *words], {"PYTHONPATH": path})


LAUNCHERS = {"slurm": by_slurm, "ray": by_ray}


@pytest.fixture(scope="module")
def alone(task: Any, launch: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert launch(task.words(folder)) == 0
    return folder


@pytest.mark.parametrize("launcher", ["slurm", pytest.param("ray", marks=pytest.mark.proof)])
def test_two_nodes_do_the_run_of_one_process(task: Any, alone: Path, tmp_path: Path, launcher: str) -> None:
    _, *flags = task.words(tmp_path / "run")
    with LAUNCHERS[launcher](flags) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    for one, other in zip(metrics(tmp_path / "run"), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)
    assert output.count("step    6") == 1, "the first process alone talks"


@pytest.mark.proof
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_when_a_rank_of_one_node_is_killed_both_nodes_begin_again_and_go_on(
    task: Any, alone: Path, tmp_path: Path, launcher: str, lost: int
) -> None:
    folder = tmp_path / "run"
    _, *flags = task.words(folder)
    with LAUNCHERS[launcher](flags) as process:
        ranks_of(process, folder, 3)[lost].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    for one, other in zip(metrics(folder), metrics(alone), strict=True):
        assert one == pytest.approx(other, **CLOSE)


@pytest.mark.proof
def test_when_a_node_has_no_restarts_left_ray_ends_the_other_within_a_minute(task: Any, tmp_path: Path) -> None:
    _, *flags = task.words(tmp_path / "run", "--max_steps=200", "--num_episodes=200")
    with by_ray(flags, "--max_restarts=0") as process:
        ranks = ranks_of(process, tmp_path / "run", 1)
        ranks[1].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and not alive(ranks)
    assert f"a rank is lost: rank 1 (process {ranks[1].pid}" in output

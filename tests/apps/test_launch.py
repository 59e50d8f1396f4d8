"""`lightrft launch`: how many processes, and of which commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import run as torchrun

from lightrft_apps.commands.launch import SHARED

Command = Callable[..., Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words PyTorch's launcher was started with."""
    words: list[list[str]] = []
    monkeypatch.setattr(torchrun, "main", words.append)
    return words


@pytest.mark.parametrize(
    ("accelerators", "asked", "processes"), [(0, [], "1"), (4, [], "4"), (4, ["--nproc_per_node", "2"], "2")], ids=str
)
def test_there_is_a_process_for_each_accelerator_and_one_where_there_is_none(
    accelerators: int,
    asked: list[str],
    processes: str,
    lightrft: Command,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: accelerators)
    assert lightrft("launch", *asked, "rl", "--config", "run.yaml").code == 0
    ((*_, begin),) = [words[: words.index("-m")] for words in started]
    assert started[0][started[0].index("--nproc-per-node") + 1] == processes and begin == "0"
    assert started[0][-4:] == ["lightrft_apps", "rl", "--config", "run.yaml"]


@pytest.mark.parametrize("number", ["0", "-2", "two", "auto", "1.5", ""])
def test_a_number_of_processes_that_cannot_be_is_refused(
    number: str, lightrft: Command, started: list[list[str]]
) -> None:
    ended = lightrft("launch", f"--nproc_per_node={number}", "rl")
    assert ended.code == 2 and "give a whole number of 1 or more" in ended.err and not started


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["plan"], "plan"),
        (["compare", "--algorithms", "grpo"], "compare"),
        (["eval"], "eval"),
        (["no_such"], "no_such"),
        (["quickstart", "--modality", "image"], "quickstart --modality image"),
        (["quickstart", "--modality=mixed"], "quickstart --modality mixed"),
        (["quickstart", "--reward-model"], "quickstart --reward-model"),
    ],
    ids=str,
)
def test_what_several_processes_would_each_do_whole_is_refused(
    words: list[str], named: str, lightrft: Command, started: list[list[str]]
) -> None:
    ended = lightrft("launch", "--nproc_per_node", "2", *words)
    assert ended.code == 2 and not started
    assert f"{named} knows nothing of several processes" in ended.err and "run it without launch" in ended.err


@pytest.mark.parametrize("words", [[name] for name in SHARED] + [["quickstart", "--modality", "text"]], ids=str)
def test_what_they_share_is_begun(words: list[str], lightrft: Command, started: list[list[str]]) -> None:
    assert lightrft("launch", *words).code == 0 and started[0][-len(words) :] == words


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "-- FLAGS"),
        (["--nodes", "2"], 2, "say what to run: -- and the flags of lightrft rl behind it"),
        (["--nodes", "2", "--"], 2, "say what to run"),
    ],
    ids=str,
)
def test_the_program_for_ray_explains_itself_without_ray(words: list[str], code: int, said: str) -> None:
    program = [sys.executable, "-S", str(ROOT / "examples/launch/ray_train.py"), *words]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert ended.returncode == code and said in ended.stdout + ended.stderr

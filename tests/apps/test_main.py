"""The command itself: what it offers, and how fast it says so."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.main import COMMANDS

RUN = """
import sys
from lightrft_apps.main import main
sys.argv = ["lightrft", *{words!r}]
try:
    main()
except SystemExit as end:
    print("ended with", end.code)
print("heavy:", sorted({{"torch", "transformers", "datasets"}} & sys.modules.keys()))
"""


def run_alone(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which ends by saying which heavy modules it has imported."""
    code = RUN.format(words=words)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_the_installed_command_lists_its_subcommands() -> None:
    command = Path(sysconfig.get_path("scripts")) / "lightrft"
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.startswith("usage: lightrft COMMAND")
    for name, about in COMMANDS.items():
        assert f"  {name:<14} {about}\n" in shown


@pytest.mark.parametrize("words", [(), ("-h",), ("help",)])
def test_help_can_be_asked_for_in_several_ways(words: tuple[str, ...], lightrft: Callable[..., Any]) -> None:
    ended = lightrft(*words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("usage: lightrft COMMAND")


def test_an_unknown_command_ends_with_2_and_the_known_ones(lightrft: Callable[..., Any]) -> None:
    ended = lightrft("rk", "--help")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("lightrft: there is no command 'rk'\n\nusage: lightrft COMMAND")


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS), ["rl", "--no_such_flag"]])
def test_help_and_mistyped_flags_are_answered_without_importing_torch(words: list[str]) -> None:
    assert run_alone(*words).stdout.splitlines()[-1] == "heavy: []"


CHIEF_FLAGS = {
    "launch": "--nproc_per_node",
    "eval-rm": "--reward_pretrain",
    "serve-reward": "--rule_reward",
    "reward": "--run",
    "watch": "--run",
    "completion": "bash",
    "doctor": "--run",
    "report": "--runs",
}
"""Of commands that --pretrain means nothing to."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, lightrft: Callable[..., Any]) -> None:
    ended = lightrft(name, "--help")
    assert ended.code == 0
    assert f"lightrft {name}" in ended.out
    assert CHIEF_FLAGS.get(name, "--pretrain") in ended.out


def test_flags_that_do_not_exist_end_with_2_and_the_nearest_name(lightrft: Callable[..., Any]) -> None:
    ended = lightrft("rl", "--rolout_batch_size=3")
    assert ended.code == 2
    assert "rollout_batch_size" in ended.err

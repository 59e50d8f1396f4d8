"""What a shell offers after `lightrft` is what its commands take, found by the shell itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.commands.completing import SCRIPTS, offers, script
from lightrft_apps.main import COMMANDS

PROGRAM = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_lightrft
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts for all shells."""
    place = tmp_path_factory.mktemp("completion")
    for shell in SCRIPTS:
        (place / f"lightrft.{shell}").write_text(script(shell))
    return place


@pytest.fixture(scope="module")
def offered(folder: Path) -> Callable[..., list[str]]:
    """offered("rl", "--al") -> what bash offers in place of the last word."""

    def ask(*words: str) -> list[str]:
        command = ["bash", "--norc", "-c", PROGRAM, "-", str(folder / "lightrft.bash"), "lightrft", *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert ran.stderr == ""
        return ran.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["s"], ["sft", "srm", "serve-reward"]),
        (["merge"], ["merge-lora"]),
        (["rl", "--algo"], ["--algorithm"]),
        (["rl", "--lr_scheduler", ""], ["constant", "linear", "cosine"]),
        (["rl", "--seed", "7", "--lr_scheduler", "co"], ["constant", "cosine"]),
        (["rl", "--lr_scheduler", "="], ["constant", "linear", "cosine"]),
        (["rl", "--lr_scheduler", "=", "l"], ["linear"]),
        (["rl", "--bf16", ""], ["true", "false"]),
        (["rl", "--bf16", "--use_w"], ["--use_wandb"]),
        (["rl", "--disable_e"], ["--disable_engine_sleep"]),
        (["rl", "--prompt_data", ""], []),
        (["reward", "rep"], ["replay"]),
        (["reward", "replay", "--rule_r"], ["--rule_reward"]),
        (["launch", "--nproc_per_node", "2", "sr"], ["srm"]),
        (["launch", "--nproc_per_node", "2", "srm", "--loss_type", "ra"], ["rao_kupper"]),
        (["quickstart", "--modality", "a"], ["audio"]),
        (["completion", "z"], ["zsh"]),
        (["watch", "runs/rl", "--o"], ["--once"]),
        (["algorithms", "--he"], ["--help"]),
        (["no_such_command", "--he"], ["--help"]),
    ],
)
def test_bash_offers_what_may_come_next(
    words: list[str], expected: list[str], offered: Callable[..., list[str]]
) -> None:
    assert offered(*words) == expected


def test_bash_offers_all_commands_first_and_files_where_it_knows_nothing(
    folder: Path, offered: Callable[..., list[str]]
) -> None:
    assert offered("") == [*COMMANDS, "--help"]
    shown = subprocess.run(
        ["bash", "--norc", "-c", f"source {folder / 'lightrft.bash'}; complete -p lightrft"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert shown == "complete -o default -F _lightrft lightrft\n"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("algorithms", "completion")])
def test_the_flags_that_are_offered_are_those_that_help_shows(command: str, lightrft: Callable[..., Any]) -> None:
    words = (command, "replay") if command == "reward" else (command,)
    shown = lightrft(*words, "--help").out
    listed = {flag for line in shown.splitlines() for flag in re.findall(r"^  (--[\w-]+)", line)}
    known = offers()[command].flags.keys()
    assert listed - {*known} == set()
    plain = {flag for flag in known if flag.removeprefix("--no-") == flag and "disable" not in flag}
    assert plain - listed - {"--help"} == set()


def test_the_scripts_are_made_without_torch() -> None:
    program = (
        "import sys\nfrom lightrft_apps.commands.completing import script\nscript('fish')\n"
        "print({'torch', 'transformers', 'numpy'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert ran.stdout == "set()\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_is_there_reads_its_script(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", folder / f"lightrft.{shell}"], timeout=120, check=True)


def test_documentation_in_quotes_stays_in_one_word_for_fish(folder: Path) -> None:
    for line in (folder / "lightrft.fish").read_text().splitlines():
        assert re.fullmatch(r"(?:[^'\\]|'(?:[^'\\]|\\.)*')*", line), line

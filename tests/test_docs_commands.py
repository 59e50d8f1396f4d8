"""The commands that the first pages tell people to type: each is understood as it stands, and each runs."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightrft_apps.config import RLConfig
from lightrft_apps.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/source/quick_start/tutorial.md"]
BLOCK = re.compile(r"^```(bash|python)\n(?:# file: (\S+)\n)?(.*?)^```", re.DOTALL | re.MULTILINE)
HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'END'\n(.*?)^END\n", re.DOTALL | re.MULTILINE)
PREFIX = ["pip", "install", "uv", "&&"]

OF_ANOTHER_TEST = ["uv run pytest"]
"""Lines that no test here can run: the tests themselves."""


def lines(page: str) -> Iterator[str]:
    """Every command line of a page, in its order; files that it makes are left out."""
    for language, _, code in BLOCK.findall((ROOT / page).read_text()):
        if language == "bash":
            yield from HERE_DOCUMENT.sub("", code).replace("\\\n", " ").strip().splitlines()


def make_files(page: str, folder: Path) -> None:
    """The files that a page has its reader make."""
    for language, name, code in BLOCK.findall((ROOT / page).read_text()):
        if language == "python" and name:
            (folder / name).write_text(code)
        for file, content in HERE_DOCUMENT.findall(code):
            (folder / file).write_text(content)


def words_of(line: str) -> list[str]:
    """What a line says to `lightrft`, the command first; [] for a line that is none of its."""
    words = shlex.split(line, comments=True)
    words = words[len(PREFIX) :] if words[: len(PREFIX)] == PREFIX else words
    return words[words.index("lightrft") + 1 :] if "lightrft" in words and words[:2] == ["uv", "run"] else []


TYPED = [(page, words) for page in PAGES for line in lines(page) if (words := words_of(line))]


def test_every_line_of_the_pages_is_a_command_of_ours_or_runs_the_tests() -> None:
    others = [line for page in PAGES for line in lines(page) if not words_of(line)]
    assert {" ".join(shlex.split(line)).removeprefix(" ".join(PREFIX) + " ") for line in others} == {*OF_ANOTHER_TEST}
    assert {words[0] for _, words in TYPED} >= {"quickstart", "rl", "eval", "report", "chat", "plan"}
    assert {words[0] for _, words in TYPED} <= {*COMMANDS}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout, to type commands in."""
    for name in ("examples", "packages"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood_as_it_stands(page: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lightrft_strategy.smollm2 import smollm2

    make_files(page, place)
    (place / "runs").mkdir()
    for run in ("quickstart", "grpo_smollm2"):
        (place / "runs" / run).mkdir()
    for _, words in [typed for typed in TYPED if typed[0] == page]:
        if "vllm" in " ".join(words) and not find_spec("vllm"):
            with pytest.raises(SystemExit):
                understood(words)
            (complaint,) = capsys.readouterr().err.splitlines()
            assert "--extra vllm" in complaint
            continue
        config = understood(words)
        if type(config) is RLConfig:
            run = place / config.run.output_dir
            run.mkdir(parents=True, exist_ok=True)
            config.save(run / "config.yaml", {})
            if not (run / "final").exists():
                (run / "final").symlink_to(smollm2())
    assert "Traceback" not in capsys.readouterr().err


def understood(words: list[str]) -> object:
    """What a command makes of its words, checked as before a run. Raises SystemExit(2) if it refuses them."""
    command, *rest = words
    module = importlib.import_module(f"lightrft_apps.commands.{command.replace('-', '_')}")
    if "--help" in rest:
        with pytest.raises(SystemExit) as ended:
            module.main(rest)
        assert ended.value.code == 0
        return None
    if command == "quickstart":
        known, others = module.asked_for(rest)
        if known.reward_model or known.modality not in (None, "text"):
            assert others == []
            return None
        return importlib.import_module("lightrft_apps.config").parse_rl(others, defaults=module.DEFAULTS)
    if command == "launch":
        return understood(rest[2:])
    if command == "algorithms":
        return module.main(rest)
    (parse,) = [value for name, value in vars(module).items() if name.startswith("parse_")]
    return parse(rest[rest[:1] == ["replay"] :])


SHORT = "--max_steps 1 --rollout_batch_size 2 --n_samples_per_prompt 2 --generate_max_len 4"
SHORTER = {
    "quickstart": [*SHORT.split(), "--eval_max_samples", "4"],
    "rl": SHORT.split(),
    "eval": ["--max_samples", "4", "--generate_max_len", "4"],
    "plan": ["--response_len", "4"],
}
"""What is put behind a command so that it is done soon; everything else stays as it stands."""

ELSEWHERE = {"Qwen/Qwen2.5-0.5B-Instruct": "smollm2"}
"""Models of the hub, where no test goes -> one that is at hand."""

SAID = {"chat": "What is 2 + 3?\n/exit\n"}
"""What is typed into a command that asks."""


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_in_the_order_of_its_page(page: str, place: Path) -> None:
    make_files(page, place)
    surroundings = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    for _, (command, *rest) in [typed for typed in TYPED if typed[0] == page]:
        told = [ELSEWHERE.get(word, word) for word in rest] + ([] if "--help" in rest else SHORTER.get(command, []))
        program = [sys.executable, "-m", "lightrft_apps", command, *told]
        ended = subprocess.run(
            program,
            cwd=place,
            env=surroundings,
            input=SAID.get(command, ""),
            capture_output=True,
            text=True,
            timeout=1200,
        )
        # plan: 1 says that it does not fit.
        assert ended.returncode in ((0, 1) if command == "plan" else (0,)), f"{shlex.join(program)}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr

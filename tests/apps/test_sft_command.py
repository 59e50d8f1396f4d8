"""`lightrft sft`, `srm` and `grm` on the command line: help that teaches, and runs that other commands find."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_apps import SFTConfig, tune
from lightrft_apps.config import GRMConfig, RLConfig, RMConfig, parse_grm, parse_sft, parse_srm, stored_config
from lightrft_apps.config.checks.bounds import BOUNDS
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.recording.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Command:
    """parse, config: of its words. taught: a word of what --help says first. own: its section of data."""

    name: str
    parse: Callable[..., Any]
    config: type
    taught: str
    own: tuple[str, ...]


COMMANDS = [
    Command("sft", parse_sft, SFTConfig, "{% generation %}", ("The examples:",)),
    Command("srm", parse_srm, RMConfig, "--heads", ("The comparisons:", "The reward model:")),
    Command("grm", parse_grm, GRMConfig, "<answer>Answer 1 is better</answer>", ("The comparisons:", "The judge:")),
]


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name)
def command(request: pytest.FixtureRequest) -> Command:
    chosen: Command = request.param
    return chosen


@pytest.fixture
def shown(command: Command, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as finished:
        command.parse(["--help"])
    assert finished.value.code == 0
    return capsys.readouterr().out


def test_help_says_what_is_learnt_and_shows_commands(command: Command, shown: str) -> None:
    before_flags = shown.split("The model:")[0]
    assert command.taught in before_flags
    assert before_flags.count(f"  lightrft {command.name} --") == 3
    named = set(re.findall(r"--(\w+)", before_flags)) - {"nproc_per_node", "config", "print_config", "flag", "no"}
    assert named <= fields_of(command.config).keys() | fields_of(RLConfig).keys()


def test_every_flag_stands_in_help_with_its_line_of_documentation(command: Command, shown: str) -> None:
    words = " ".join(shown.split())
    for name, field in fields_of(command.config).items():
        assert f"--{name} " in words
        assert field.doc in words, name


def test_flags_are_grouped_by_section_in_order(command: Command, shown: str) -> None:
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith((" ", "examples"))]
    assert titles == [
        "The model:",
        *command.own,
        "What is trained: an adapter (LoRA), or all but what is frozen:",
        "Optimisation:",
        "Several processes (lightrft launch, torchrun):",
        "Evaluation:",
        "The run:",
        "Trackers (the numbers of metrics.jsonl elsewhere, too):",
    ]


def test_every_number_has_bounds(command: Command) -> None:
    numbers = {name for name, field in fields_of(command.config).items() if field.type in (int, float)}
    assert numbers - set(BOUNDS) == set()


def test_help_does_not_import_torch_or_transformers() -> None:
    program = (
        "import sys\n"
        "from lightrft_apps.config import parse_sft, parse_srm\n"
        "for parse in (parse_sft, parse_srm):\n"
        "    try:\n        parse(['--help'])\n"
        "    except SystemExit:\n        print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [line for line in ran.stdout.splitlines() if line.startswith("[")][-1] == "[]"


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, a checkpoint after each."""
    folder = tmp_path_factory.mktemp("sft")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{i}+{i}=", "output": str(2 * i)}) + "\n" for i in range(8)))
    places = {"pretrain": tiny_folder, "dataset": rows, "output_dir": folder / "run"}
    tune(SFTConfig.create(**places, train_batch_size=4, save_steps=1, learning_rate=0.01, progress=False))
    return folder / "run"


def test_a_checkpoint_exports_to_what_the_run_left(
    finished: Path, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    assert isinstance(stored_config(finished / "config.yaml"), SFTConfig)
    ended = lightrft("export", str(finished), str(tmp_path / "exported"))
    assert ended.code == 0, ended.err
    left, exported = (load_file(folder / "model.safetensors") for folder in (finished / "final", tmp_path / "exported"))
    assert left.keys() == exported.keys()
    assert all(torch.equal(left[name], exported[name]) for name in left)


def test_a_folder_of_the_other_command_is_not_taken(finished: Path, lightrft: Callable[..., Any]) -> None:
    (finished / "prompts.jsonl").write_text('{"input": "1", "label": "1"}\n')
    flags = {
        "pretrain": "x",
        "prompt_data": finished / "prompts.jsonl",
        "rule_reward": "number",
        "output_dir": finished,
    }
    ended = lightrft("rl", *(f"--{name}={value}" for name, value in flags.items()))
    assert ended.code == 1
    assert f"{finished} holds a run of lightrft sft: choose another --output_dir" in ended.err


@pytest.mark.parametrize(("held_out", "best"), [({1: 0.9, 2: 0.5, 3: 0.7}, 2), ({1: 0.5, 2: 0.5}, 2)])
def test_the_best_checkpoint_is_that_of_the_lowest_held_out_loss(
    tmp_path: Path, held_out: dict[int, float], best: int
) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text("".join(json.dumps({"step": s, "eval/nll": n}) + "\n" for s, n in held_out.items()))
    assert run.best(*held_out) == best


@pytest.mark.parametrize(
    ("lines", "best"),
    [
        ([{"helpful/accuracy": 0.9, "safe/accuracy": 0.5}, {"helpful/accuracy": 0.8, "safe/accuracy": 0.8}], 2),
        ([{"helpful/accuracy": 0.9, "safe/accuracy": 0.5}, {"helpful/accuracy": 0.6, "safe/accuracy": 0.6}], 1),
        ([{"squared_error": 0.1}, {"squared_error": 0.2}], 1),
        ([{"accuracy": 0.7, "squared_error": 0.9}, {"accuracy": 0.6, "squared_error": 0.1}], 1),
    ],
)
def test_the_best_checkpoint_of_a_reward_model_is_the_most_often_right_or_else_the_nearest(
    tmp_path: Path, lines: list[dict[str, float]], best: int
) -> None:
    run = RunDirectory(tmp_path)
    numbered = [{"step": step} | {f"eval/{k}": v for k, v in line.items()} for step, line in enumerate(lines, start=1)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in numbered))
    assert run.best(1, 2) == best


def test_another_commands_configuration_is_read_as_what_it_is(tmp_path: Path) -> None:
    config = RLConfig.create(pretrain="a", prompt_data="b", output_dir="c")
    config.save(tmp_path / "config.yaml", {})
    assert stored_config(tmp_path / "config.yaml") == config

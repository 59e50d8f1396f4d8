"""Help: what the command does, then every flag under its section, without waiting for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lightrft_apps.config import RLConfig, parse_rl
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.schema import fields_of


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as finished:
        parse_rl(["--help"])
    assert finished.value.code == 0
    return capsys.readouterr().out


def test_help_says_what_the_command_does_and_shows_two_commands(shown: str) -> None:
    before_flags = shown.split("The model:")[0]
    assert "Fine-tune a language model" in before_flags
    assert before_flags.count("  lightrft rl --") == 2


def test_every_flag_stands_in_help_with_its_line_of_documentation(shown: str) -> None:
    words = " ".join(shown.split())
    for name, field in fields_of(RLConfig).items():
        assert f"--{name} " in words
        assert field.doc in words, name


def test_flags_are_grouped_by_section_in_order(shown: str) -> None:
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith((" ", "examples"))]
    assert titles == [
        "The model:",
        "The prompts:",
        "What is trained: an adapter (LoRA), or all but what is frozen:",
        "Sampling:",
        "The sampling engine:",
        "Optimisation:",
        "Several processes (lightrft launch, torchrun):",
        "The algorithm (lightrft algorithms lists them; flags below override its pieces):",
        "Divergence from a reference model or a teacher:",
        "The critic (algorithms with gae):",
        "Correction of the gap between sampler and trainer (it is always measured):",
        "Rewards:",
        "Reward models:",
        "Shaping and filtering of rewards:",
        "Evaluation:",
        "The run:",
        "Trackers (the numbers of metrics.jsonl elsewhere, too):",
    ]


def test_defaults_stand_in_help(shown: str) -> None:
    words = " ".join(shown.split())
    assert "prompts per step (default: 128)" in words
    assert "decay of AdamW's two moving averages (default: 0.9 0.95)" in words
    assert "--kl_estimator {k1,k2,k3}" in words
    assert "--stop_token_ids N [N ...] tokens that end" in words
    assert "(off: --disable_engine_sleep) (default: true)" in words


def test_inherited_flags_keep_their_lines_unless_they_have_one_of_their_own() -> None:
    training, evaluation = fields_of(RLConfig), fields_of(EvalCommand)
    assert training["top_p"].doc == evaluation["top_p"].doc
    assert training["temperature"].doc != evaluation["temperature"].doc
    assert list(training).index("rollout_batch_size") < list(training).index("top_p") < list(training).index("use_fire")


def test_help_is_given_beside_other_flags_even_wrong_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--seed", "x", "--help"], ["--unknown", "-h"]):
        with pytest.raises(SystemExit) as finished:
            parse_rl(argv)
        assert finished.value.code == 0
        assert capsys.readouterr().out.startswith("usage: lightrft rl")


def test_help_does_not_import_torch_or_transformers() -> None:
    program = (
        "import sys\n"
        "from lightrft_apps.config import parse_rl\n"
        "try:\n    parse_rl(['--help'])\n"
        "except SystemExit:\n    print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"

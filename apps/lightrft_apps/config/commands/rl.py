"""The command line of `lightrft rl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightrft_apps.config.checks.rl import require_valid
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.rl import RLConfig

ABOUT = """\
Fine-tune a language model by reinforcement: sample answers to prompts, reward them, make the better ones likelier.

examples:
  {prog} --pretrain MODEL --prompt_data prompts.jsonl --rule_reward number:1.0 --output_dir runs/first
  {prog} --config recipe.yaml --actor_learning_rate 2e-6 --output_dir runs/second"""


def parse_rl(
    argv: Sequence[str],
    *,
    prog: str = "lightrft rl",
    about: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> RLConfig:
    """The checked configuration of a run: flags win over --config files, files over `defaults` (by flag name).

    about: what --help says of the command, if it is another than `lightrft rl`.
    Raises SystemExit: code 0 after --help and --print_config, 2 after printing what is wrong.
    """
    with exit_on_config_error(prog):
        config = parse(RLConfig, argv, prog=prog, about=about or ABOUT.format(prog=prog), defaults=defaults)
        require_valid(config)
        return config

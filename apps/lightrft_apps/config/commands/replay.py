"""The configuration and command line of `lightrft reward replay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightrft_apps.config.checks.bounds import BOUNDS, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.checks.reward import reward_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.leading import named
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.sections import JudgesArgs, RewardArgs
from lightrft_apps.config.sections.reward import RuleArgs
from lightrft_apps.config.stored import stored_config

PROG = "lightrft reward replay"
ABOUT = """\
Judge a run's saved answers once more, and say how many verdicts differ, part by part.

By the rewards of the run, it shows whether judging can be trusted: a reward that depends on the time, on chance or on a
service that has changed gives other verdicts. After an edit of a reward, or with other rewards given by flags, it shows
what they would have paid. Nothing in the run changes but that a report is written.

examples:
  lightrft reward replay runs/first
  lightrft reward replay runs/first --rule_reward boxed:1.0,format:0.2 --steps 1-20"""

JUDGING = ("rule_reward", "reward_routes", "reward_fn", "reward_pretrain", "remote_rm_url", "llm_judge_url")
"""Flags that name what judges: with any of them the run's own rewards play no part."""


@dataclass(frozen=True)
class ReplayArgs:
    """The replay"""

    run: str
    """the run's folder; may stand first, without its flag"""
    steps: str | None = None
    """which steps' answers, such as 7 or 1-20; default: all that were saved"""
    evaluations: bool = False
    """judge the answers of its evaluations in place of those it learnt from"""
    max_samples: int | None = None
    """answers at most, the first ones; default: all"""
    tolerance: float = 1e-6
    """how far two numbers may lie apart and still count as equal"""
    output: str | None = None
    """file to write the report to; default: replay.json in the run's folder"""
    trust_remote_code: bool = False
    """let repositories of reward models run their own Python code, whether the run let them or not"""


@dataclass(frozen=True, kw_only=True)
class ReplayCommand:
    """Everything `lightrft reward replay` is told."""

    replay: ReplayArgs
    rules: RuleArgs = field(default_factory=RuleArgs)
    judges: JudgesArgs = field(default_factory=JudgesArgs)

    def reward(self) -> RewardArgs:
        """How answers are judged, as a run is told; however many cannot be."""
        return RewardArgs(**vars(self.rules), max_reward_error_share=1.0)

    def span(self) -> tuple[int, int] | None:
        """The first and the last step, None for all. Raises ConfigError for a text that is no such thing."""
        if self.replay.steps is None:
            return None
        first, _, last = self.replay.steps.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
            raise ConfigError([f"--steps {self.replay.steps}: write it as 7, or as 1-20"])
        return int(first), int(last or first)


def parse_replay(argv: Sequence[str]) -> ReplayCommand:
    """The checked arguments, with the run's own rewards where none are given. Raises SystemExit: code 0 after --help, 2
    after printing what is wrong."""
    with exit_on_config_error(PROG):
        words = named(argv, "run")
        command = parse(ReplayCommand, words, prog=PROG, about=ABOUT)
        config = run_config(command.replay.run)
        flat = to_flat(command)
        if all(flat[name] is None for name in JUDGING):
            if config.shaping.ttrl:
                raise ConfigError(
                    [
                        f"{command.replay.run} was judged by the vote of its answers (--ttrl), which is not replayed: "
                        "say by --rule_reward what to judge by"
                    ]
                )
            command = parse(ReplayCommand, words, prog=PROG, about=ABOUT, defaults=_own(config))
        problems = [
            *reward_problems(command.reward(), command.judges),
            *out_of_bounds(to_flat(command), BOUNDS | {"tolerance": ZERO_OR_MORE}),
        ]
        command.span()
        if problems:
            raise ConfigError(problems)
        return command


def run_config(run: str) -> RLConfig:
    """What a run of lightrft rl was told. Raises ConfigError if the folder is of none."""
    file = Path(run).expanduser() / "config.yaml"
    if not file.is_file():
        raise ConfigError([f"--run {run}: there is no run (config.yaml) in this folder"])
    config = stored_config(file)
    if not isinstance(config, RLConfig):
        raise ConfigError([f"--run {run}: this is no run of lightrft rl, and has no rewards"])
    return config


def _own(config: RLConfig) -> dict[str, Any]:
    """The run's flags that say how answers are judged."""
    flat = to_flat(config)
    mine = fields_of(ReplayCommand)
    return {name: flat[name] for name, field in mine.items() if field.section != "replay" and name in flat}

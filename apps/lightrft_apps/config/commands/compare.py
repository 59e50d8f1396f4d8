"""The configuration and command line of `lightrft compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightrft_apps.config.checks.places import unusable_folder
from lightrft_apps.config.checks.rl import check
from lightrft_apps.config.commands.quickstart import DEFAULTS
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.command_line import read_command_line
from lightrft_apps.config.reading.files import read_config_file
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.config.reading.values import resolve
from lightrft_apps.config.rl import RLConfig

PROG = "lightrft compare"

ABOUT = """\
Train several algorithms on one task, each with several seeds, and compare what they reach.

Each algorithm has its paper's settings, as `lightrft algorithms` lists them; every flag of `lightrft rl` that is given
holds for all of them. --algorithms and --seeds stand in for --algorithm and --seed, which are not heeded in a --config
file. Runs follow one another, each in a process of its own. A comparison that was stopped goes on by the same command;
runs that are finished are not repeated.

examples:
  lightrft compare --algorithms grpo,dapo,gspo
  lightrft compare --algorithms grpo,dr_grpo --seeds 1,2,3,4,5 --max_steps 8 --output_dir runs/short
  lightrft compare --task custom --algorithms grpo,rloo --pretrain MODEL --prompt_data train.jsonl \\
      --eval_dataset heldout.jsonl --rule_reward number --output_dir runs/mine

Into --output_dir come compare.md (a table), compare.svg (a picture), compare.json (every number, each run by itself),
and ALGORITHM/seed_N for each run, with seed_N.yaml and seed_N.log beside it (lightrft rl --config seed_N.yaml
--output_dir NEW repeats it). The checkpoints of a finished run are removed; its final model stays.
The defaults below are those of --task sums."""

TASKS: dict[str, dict[str, Any]] = {
    "sums": {name: value for name, value in DEFAULTS.items() if name != "init_kl_coef"}
    | {"output_dir": "runs/compare"},
    "custom": {},
}
"""--task -> its flags. sums is the quick start without its init_kl_coef of 0, so that each algorithm keeps its own."""


@dataclass(frozen=True)
class ComparisonArgs:
    """The comparison"""

    algorithms: str
    """what to compare, separated by commas, such as grpo,dapo,gspo (lightrft algorithms lists them)"""
    seeds: str = "1,2,3"
    """seeds to run each algorithm with, separated by commas"""
    task: Literal["sums", "custom"] = "sums"
    """what to learn: sums, with all it needs; or custom, given by --pretrain, --prompt_data and so on"""


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    comparison: ComparisonArgs


@dataclass(frozen=True, kw_only=True)
class CompareCommand(RLConfig, _Comparison):
    """Everything `lightrft compare` is told: the comparison, then what all its runs share."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison; its config names its own folder."""

    algorithm: str
    seed: int
    config: RLConfig

    @property
    def path(self) -> Path:
        """The run's directory."""
        return Path(self.config.run.output_dir).expanduser()


def parse_compare(argv: Sequence[str]) -> tuple[CompareCommand, list[PlannedRun]]:
    """The checked comparison and its runs, seed by seed, so that an early stop still leaves algorithms to compare.

    Raises SystemExit: code 0 after --help and --print_config, 2 after printing what is wrong.
    """
    with exit_on_config_error(PROG):
        command = parse(CompareCommand, argv, prog=PROG, about=ABOUT, defaults=TASKS[_task(argv)])
        runs = _plan(command)
        _require_valid(runs)
        return command, runs


def _task(argv: Sequence[str]) -> str:
    """The task these words ask for, which decides what the other flags default to."""
    line = read_command_line(argv, fields_of(CompareCommand))
    set_here = [entry.name for entry in line.given if entry.name in ("algorithm", "seed")]
    if set_here:
        raise ConfigError([f"--{name} is set by --{name}s, run by run: leave it out" for name in set_here])
    given = [entry for path in line.config_files for entry in read_config_file(CompareCommand, path)] + line.given
    task: str = resolve(CompareCommand, [entry for entry in given if entry.name == "task"])["task"]
    return task


def _plan(command: CompareCommand) -> list[PlannedRun]:
    problems = [*unusable_folder(command.run.output_dir)]
    algorithms, seeds = _algorithms(command.comparison, problems), _seeds(command.comparison, problems)
    if problems:
        raise ConfigError(problems)
    known = fields_of(RLConfig)
    flat = {name: value for name, value in to_flat(command).items() if name in known}

    def planned(algorithm: str, seed: int) -> PlannedRun:
        folder = Path(command.run.output_dir) / algorithm / f"seed_{seed}"
        own = {"algorithm": algorithm, "seed": seed, "output_dir": str(folder)}
        return PlannedRun(algorithm, seed, RLConfig.from_flat(flat | own))

    return [planned(algorithm, seed) for seed in seeds for algorithm in algorithms]


def _algorithms(args: ComparisonArgs, problems: list[str]) -> list[str]:
    from lightrft_apps.config.known_algorithms import (
        algorithm_names,  # imports torch, which --help does not need
        unknown_algorithm,
    )

    names = _listed("algorithms", args.algorithms, problems)
    known = algorithm_names()
    problems += [f"--algorithms: {unknown_algorithm(name, known)}" for name in names if name not in known]
    return names


def _seeds(args: ComparisonArgs, problems: list[str]) -> list[int]:
    words = _listed("seeds", args.seeds, problems)
    wrong = [word for word in words if not (word.isascii() and word.isdigit())]
    problems += [f"--seeds {args.seeds}: {word!r} is no seed; give whole numbers, such as 1,2,3" for word in wrong]
    return [] if wrong else [int(word) for word in words]


def _listed(flag: str, text: str, problems: list[str]) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        problems.append(f"--{flag} names nothing: give it one or more, separated by commas")
    twice = {word for word in words if words.count(word) > 1}
    problems += [f"--{flag} {text}: {word} is there twice; keep one" for word in sorted(twice)]
    return words


def _require_valid(runs: Sequence[PlannedRun]) -> None:
    """Raise ConfigError with all that is wrong with any run, naming algorithms where only some of them mind."""
    found = {run.algorithm: check(run.config) for run in runs}
    problems = dict.fromkeys(problem for listed in found.values() for problem in listed)
    minding = {problem: [name for name, listed in found.items() if problem in listed] for problem in problems}
    if problems:
        raise ConfigError(
            [
                problem if len(names) == len(found) else f"{', '.join(names)}: {problem}"
                for problem, names in minding.items()
            ]
        )

"""The configuration and command line of `lightrft export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightrft_apps.config.checks.conversion import conversion_problems
from lightrft_apps.config.checks.places import missing_folder
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.leading import named
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = """\
Write a checkpoint as an ordinary Hugging Face folder: weights, configuration, tokenizer.

The checkpoint may be of any strategy (one process, ddp, fsdp2, ZeRO) and any number of ranks; it is read by this one
process, which holds the model once (with --merge twice) in float32 and one weight of the checkpoint at a time. Every
file is compared with its checksum first: of a run's folder a damaged checkpoint is named and the newest whole one read
instead, a checkpoint that you name must be whole. What was not trained (frozen weights, the model of an adapter) comes
from the run's --pretrain. The folder appears whole or not at all.

The critic is written as a token classifier with one label: AutoModelForTokenClassification gives, at each token, the
value of the state after it. A reward model is written as its own run writes it, an adapter merged into it.

examples:
  lightrft export runs/first runs/first/exported
  lightrft export runs/first exported --step 20 --dtype bfloat16
  lightrft export runs/lora/checkpoints/step_8 merged --merge"""


@dataclass(frozen=True)
class ExportArgs:
    """The export"""

    checkpoint: str
    """a run's folder, or one of its checkpoints/step_N; may stand first, without its flag"""
    output: str
    """folder to write, which must be new or empty; may stand second, without its flag"""
    step: int | None = None
    """of a run: the checkpoint of this step; otherwise the newest that is whole"""
    best: bool = False
    """of a run: the checkpoint that did best on what is held out: most accurate, or of lightrft sft the lowest loss"""
    model: Literal["policy", "critic", "rm"] | None = None
    """which of the trained models; default: the policy, of a run of lightrft srm the reward model"""
    ema: bool = False
    """of a run with --enable_ema: the moving average of the weights"""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """precision to write; otherwise that in which the run computes"""
    merge: bool = False
    """of a run with --lora_rank: the sum of model and adapter; otherwise the adapter alone"""
    pretrain: str | None = None
    """model the run began from, where the run's config.yaml is not beside or names a place that is gone"""
    trust_remote_code: bool = False
    """let the model's repository run its own Python code"""


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Everything `lightrft export` is told."""

    export: ExportArgs


def parse_export(argv: Sequence[str]) -> ExportArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft export"):
        words = named(argv, "checkpoint", "output")
        args = parse(ExportCommand, words, prog="lightrft export", about=ABOUT).export
        problems = [
            *conversion_problems(args.pretrain, args.output),
            *missing_folder("checkpoint", args.checkpoint),
        ]
        if args.step is not None and args.best:
            problems.append("--step and --best are two choices of a checkpoint: leave one of them out")
        if args.ema and args.model == "critic":
            problems.append("--ema: the critic has no moving average: leave --ema or --model critic out")
        if problems:
            raise ConfigError(problems)
        return args

"""The configuration and command line of `lightrft import`."""

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
Write the weights of another trainer's checkpoint as an ordinary Hugging Face folder, which --pretrain takes.

Read are folders of torch.distributed.checkpoint (FSDP2's, as torchtitan, Accelerate and many others write them), of
DeepSpeed ZeRO (stages 1 to 3, the float32 masters; DeepSpeed need not be installed), and of safetensors alone. Names
are matched with those of --pretrain, whatever stands before them. Moments and counters are left behind: a run that
goes on from here begins its optimiser anew.

The first two consist of pickles, which can run code when they are loaded. Here nothing in them is run: tensors and
plain values are read, and a file that holds anything else is refused by name.

examples:
  lightrft import elsewhere/pytorch_model_fsdp_0 imported --pretrain MODEL
  lightrft import elsewhere/global_step100 imported --pretrain MODEL --dtype bfloat16
  lightrft rl --pretrain imported --config examples/grpo_smollm2.yaml"""


@dataclass(frozen=True)
class ImportArgs:
    """The import"""

    checkpoint: str
    """folder of the other trainer's checkpoint; may stand first, without its flag"""
    output: str
    """folder to write, which must be new or empty; may stand second, without its flag"""
    pretrain: str
    """model that was trained: a folder, a hub name, or smollm2; it gives configuration and tokenizer"""
    prefix: str | None = None
    """what stands before the model's names in the checkpoint, where it holds several models; '' for nothing"""
    dtype: Literal["bfloat16", "float16", "float32"] = "float32"
    """precision to write"""
    trust_remote_code: bool = False
    """let the model's repository run its own Python code"""


@dataclass(frozen=True, kw_only=True)
class ImportCommand:
    """Everything `lightrft import` is told."""

    imported: ImportArgs


def parse_import(argv: Sequence[str]) -> ImportArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft import"):
        words = named(argv, "checkpoint", "output")
        args = parse(ImportCommand, words, prog="lightrft import", about=ABOUT).imported
        problems = [
            *conversion_problems(args.pretrain, args.output),
            *missing_folder("checkpoint", args.checkpoint),
        ]
        if problems:
            raise ConfigError(problems)
        return args

"""The configuration and command line of `lightrft merge-lora`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lightrft_apps.config.checks.conversion import conversion_problems
from lightrft_apps.config.checks.lora import NO_BITSANDBYTES
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.leading import named
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = """\
Add a LoRA adapter to the model it was trained on, and write the sum as an ordinary Hugging Face folder.

A run with --lora_rank leaves an adapter in final/: small, and of use only together with its model. The merged folder
stands alone: transformers, vLLM, SGLang and lightrft load it as any other model, and it answers as the adapter did.
Of each layer with an adapter, W + lora_alpha / lora_rank * B A is written, added up in float32; the other weights and
the configuration are those of --pretrain. The tokenizer is the one beside the adapter, or else that of --pretrain.
An adapter of a run with --load_in_4bit was trained on rounded weights: give --load_in_4bit, and it is added to those.
The folder appears whole or not at all.

examples:
  lightrft merge-lora runs/lora runs/lora/merged
  lightrft merge-lora --adapter runs/lora/final --output merged --pretrain MODEL --dtype bfloat16
  lightrft eval --pretrain runs/lora/merged --prompt_data heldout.jsonl --rule_reward number --engine_type vllm"""


_DESCRIPTION = "adapter_config.json"


@dataclass(frozen=True)
class MergeArgs:
    """The merge"""

    adapter: str
    """folder of the adapter (adapter_config.json, adapter_model.safetensors) or of its run; may stand first, bare"""
    output: str
    """folder to write, which must be new or empty; may stand second, without its flag"""
    pretrain: str | None = None
    """model the adapter was trained on, a folder, a hub name or smollm2; default: what its adapter_config.json names"""
    dtype: Literal["bfloat16", "float16", "float32"] = "float32"
    """precision to write"""
    load_in_4bit: bool = False
    """of a run with --load_in_4bit: add the adapter to the numbers that the model's 4 bits stood for"""
    trust_remote_code: bool = False
    """let the model's repository run its own Python code"""


@dataclass(frozen=True, kw_only=True)
class MergeCommand:
    """Everything `lightrft merge-lora` is told."""

    merge: MergeArgs


def parse_merge(argv: Sequence[str]) -> MergeArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft merge-lora"):
        words = named(argv, "adapter", "output")
        args = _of_its_model(_of_a_run(parse(MergeCommand, words, prog="lightrft merge-lora", about=ABOUT).merge))
        problems = list(conversion_problems(args.pretrain, args.output))
        if args.load_in_4bit and find_spec("bitsandbytes") is None:
            problems.append(NO_BITSANDBYTES)
        if problems:
            raise ConfigError(problems)
        return args


def _of_a_run(args: MergeArgs) -> MergeArgs:
    """With the adapter that a run's folder holds, if it is one."""
    folder = Path(args.adapter).expanduser()
    if not (folder / _DESCRIPTION).is_file() and (folder / "final" / _DESCRIPTION).is_file():
        return replace(args, adapter=str(folder / "final"))
    return args


def _of_its_model(args: MergeArgs) -> MergeArgs:
    """With the model that the adapter names, unless one is given. Raises ConfigError if it names none."""
    if args.pretrain is not None:
        return args
    file = Path(args.adapter).expanduser() / _DESCRIPTION
    try:
        name = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except FileNotFoundError as error:
        raise ConfigError([f"--adapter {args.adapter} holds no adapter: {_DESCRIPTION} is missing"]) from error
    except (OSError, ValueError) as error:
        raise ConfigError([f"--adapter {args.adapter}: {_DESCRIPTION} cannot be read there: {error}"]) from error
    if not name:
        raise ConfigError([f"--pretrain is needed: {file} does not name the model that the adapter was trained on"])
    return replace(args, pretrain=str(name))

"""The configuration and command line of `lightrft merge-lora`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightrft_apps.config.conversion_checks import conversion_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.parse import exit_on_config_error, parse

ABOUT = """\
Add a LoRA adapter to the model it was trained on, and write the sum as an ordinary Hugging Face folder.

A run with --lora_rank leaves an adapter in final/: small, and of use only together with its model. The merged folder
stands alone: transformers, vLLM, SGLang and lightrft load it as any other model, and it answers as the adapter did.
Of each layer with an adapter, W + lora_alpha / lora_rank * B A is written, added up in float32; the other weights and
the configuration are those of --pretrain. The tokenizer is the one beside the adapter, or else that of --pretrain.
An adapter of a run with --load_in_4bit is added to the model's weights as they were before they were quantised.
The folder appears whole or not at all.

examples:
  lightrft merge-lora --pretrain MODEL --adapter runs/lora/final --output runs/lora/merged
  lightrft merge-lora --pretrain MODEL --adapter runs/lora/final --output merged --dtype bfloat16
  lightrft eval --pretrain runs/lora/merged --prompt_data heldout.jsonl --rule_reward number --engine_type vllm"""


@dataclass(frozen=True)
class MergeArgs:
    """The merge"""

    pretrain: str
    """model the adapter was trained on: a folder, a name on the Hugging Face hub, or smollm2"""
    adapter: str
    """folder of the adapter: adapter_config.json and adapter_model.safetensors"""
    output: str
    """folder to write, which must be new or empty"""
    dtype: Literal["bfloat16", "float16", "float32"] = "float32"
    """precision to write"""
    trust_remote_code: bool = False
    """let the model's repository run its own Python code"""


@dataclass(frozen=True, kw_only=True)
class MergeCommand:
    """Everything `lightrft merge-lora` is told."""

    merge: MergeArgs


def parse_merge(argv: Sequence[str]) -> MergeArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft merge-lora"):
        args = parse(MergeCommand, argv, prog="lightrft merge-lora", about=ABOUT).merge
        problems = list(conversion_problems(args.pretrain, args.output))
        if problems:
            raise ConfigError(problems)
        return args

"""Whether adapters can be trained as the flags say, and whether a model is not itself an adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.places import missing_source
from lightrft_apps.config.learning import LearningConfig
from lightrft_apps.config.rl import RLConfig

OF_AN_ADAPTER = "adapter_config.json"
"""The file by which a folder holds an adapter, not a model."""

NO_BITSANDBYTES = "--load_in_4bit: the package bitsandbytes is not installed: install lightrft-strategy[qlora]"


def lora_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that say what of the model is trained, and how it is then sampled from."""
    yield from trained_problems(config)
    args, engine = config.lora, config.engine.engine_type
    if args.lora_rank > 0 and config.parallel.zero_stage == 3 and engine != "embedded":
        yield (
            f"--lora_rank {args.lora_rank} with --zero_stage 3 and --engine_type {engine}, which would be handed the "
            "model without its adapter: set --zero_stage 2, --fsdp or --engine_type embedded"
        )
    if args.load_in_4bit and engine != "embedded":
        yield (
            f"--load_in_4bit with --engine_type {engine}, which cannot be handed weights in 4 bits: "
            "set --engine_type embedded, or leave --load_in_4bit out"
        )


def trained_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about the flags that say what of the model is trained."""
    args = config.lora
    adapter = args.lora_rank > 0
    yield from without_effect(config, [(("lora_alpha", "target_modules"), adapter, "set --lora_rank, such as 16")])
    if adapter and find_spec("peft") is None:
        yield f"--lora_rank {args.lora_rank}: the package peft is not installed: install lightrft-strategy[lora]"
    if args.load_in_4bit:
        yield from (problem for broken, problem in _four_bit_rules(config) if broken)
    for flag, value in (("target_modules", args.target_modules), ("freeze_prefix", args.freeze_prefix)):
        if value is not None and not all(names_in(value)):
            yield f"--{flag} {value}: there is an empty name in it: separate names by single commas"


def model_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that name models."""
    models = {
        "pretrain": config.model.pretrain,
        "critic_pretrain": config.critic.critic_pretrain,
        "teacher_pretrain": config.divergence.teacher_pretrain,
    }
    for flag, source in models.items():
        if source is not None:
            yield from missing_source(flag, source)
    yield from adapters_for_models(models)


def names_in(text: str) -> tuple[str, ...]:
    """The names that commas separate."""
    return tuple(name.strip() for name in text.split(","))


def adapters_for_models(models: Mapping[str, str | None]) -> Iterator[str]:
    """What to do about each flag whose model is an adapter in a folder."""
    for flag, source in models.items():
        if source and (Path(source).expanduser() / OF_AN_ADAPTER).is_file():
            yield (
                f"--{flag} {source}: this is an adapter, not a whole model: merge it by lightrft merge-lora "
                f"--pretrain BASE --adapter {source} --output FOLDER, and set --{flag} to that FOLDER"
            )


def _four_bit_rules(config: LearningConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is broken, what to change), for --load_in_4bit."""
    yield (
        config.lora.lora_rank <= 0,
        "--load_in_4bit: weights in 4 bits cannot be trained, an adapter on them can: set --lora_rank, such as 16",
    )
    yield find_spec("bitsandbytes") is None, NO_BITSANDBYTES
    yield (
        config.parallel.fsdp or config.parallel.zero_stage is not None,
        "--load_in_4bit: weights in 4 bits cannot be held in shards: leave --fsdp and --zero_stage out",
    )

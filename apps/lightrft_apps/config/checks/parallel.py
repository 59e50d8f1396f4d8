"""Whether the run can be spread over processes as the flags say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.engine import INSTALL
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.learning import LearningConfig
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.sections import ParallelArgs, RanksArgs

IN_SLICES = ("sp_size", "ring_attn_size")
"""The flags that spread the tokens of a packed row over processes."""


def parallel_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that spread a run over the processes there are."""
    args, ranks = config.parallel, int(os.environ.get("WORLD_SIZE", "1"))
    yield from ranks_problems(config)
    if args.placement == "colocate":
        yield from _colocation_problems(args)
    stuck = args.ranks_timeout if args.stall_timeout is None else args.stall_timeout
    if stuck <= config.reward.reward_timeout:
        default = ", the --ranks_timeout, by default" if args.stall_timeout is None else ""
        yield (
            f"--reward_timeout {config.reward.reward_timeout:g}: while a sample is judged for so long, the run would "
            f"count as stuck: set --stall_timeout above it; it is {stuck:g}{default}"
        )
    engine = config.engine
    if ranks > 1 and engine.engine_type in INSTALL and not engine.engine_server and engine.engine_url is None:
        yield (
            f"--engine_type {engine.engine_type}: an engine inside one of {ranks} processes would take part in their "
            "collectives: set --engine_server"
        )


def ranks_problems(config: LearningConfig) -> Iterator[str]:
    """The same where nothing but training is to be spread."""
    args, ranks = config.parallel, int(os.environ.get("WORLD_SIZE", "1"))
    yield from holding_problems(config)
    together = {name: size for name in ("tp_size", *IN_SLICES) if (size := getattr(args, name)) > 1}
    if ranks % prod(together.values()):
        flags = " x ".join(f"--{name} {size}" for name, size in together.items())
        yield (
            f"{flags}: {ranks} process{'es' if ranks > 1 else ''} cannot be cut into groups of "
            f"{prod(together.values())}: lightrft launch --nproc_per_node a multiple of it, or lower "
            f"{' or '.join(f'--{name}' for name in together)}"
        )
    alone = ("ranks_timeout", "balance_speeds")
    yield from without_effect(config, [(alone, ranks > 1, "start several processes by lightrft launch")])
    if args.balance_speeds and args.zero_stage == 3:
        yield (
            "--balance_speeds with --zero_stage 3, where processes wait for each other within a layer, so that their "
            "speeds cannot be measured: set --zero_stage 2 or --fsdp, or leave --balance_speeds out"
        )
    if args.fsdp and "RANK" not in os.environ:
        yield "--fsdp: shards are held by processes that a launcher starts: lightrft launch --nproc_per_node 1 rl ..."
    if args.zero_stage is not None and find_spec("deepspeed") is None:
        yield f"--zero_stage {args.zero_stage}: the package deepspeed is not installed: uv sync --extra deepspeed"


def holding_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about the flags that say how models lie on processes, wherever those are."""
    args = config.parallel
    yield from without_effect(
        config,
        [
            (("fsdp_offload", "fsdp_reshard"), args.fsdp, "set --fsdp"),
            (("adam_offload", "overlap_comm"), args.zero_stage is not None, "set --zero_stage"),
            (("overlap_comm",), args.zero_stage != 1, "stage 1 has nothing to overlap: set --zero_stage 2 or 3"),
        ],
    )
    if args.tp_size > 1:
        yield from _slicing_problems(config)
    slicing = [f"--{name} {size}" for name in IN_SLICES if (size := getattr(args, name)) > 1]
    if slicing and not config.train.packing_samples:
        yield f"{slicing[0]}: only packed rows are cut into slices: add --packing_samples"
    if len(slicing) > 1:
        yield f"{slicing[0]} with {slicing[1]} are two ways of cutting a row into slices: leave one of them out"
    if args.fsdp and args.zero_stage is not None:
        yield f"--fsdp and --zero_stage {args.zero_stage} are two ways of holding a model: leave one of them out"
    if args.strategy is not None:
        yield from _strategy_problems(args.strategy, args)


def _strategy_problems(name: str, args: RanksArgs) -> Iterator[str]:
    from lightrft_apps.config.any_hold import find_hold  # imports torch, which --help does not wait for

    other = "fsdp" if args.fsdp else "zero_stage" if args.zero_stage is not None else None
    if other is not None:
        yield f"--strategy {name} and --{other} are two ways of holding a model: leave one of them out"
    try:
        find_hold(name)
    except ConfigError as error:
        yield from error.problems


def _slicing_problems(config: LearningConfig) -> Iterator[str]:
    args, flag = config.parallel, f"--tp_size {config.parallel.tp_size}"
    if args.zero_stage == 3:
        yield f"{flag} with --zero_stage 3, whose shards are not cut into slices: set --zero_stage 2, or --fsdp instead"
    elif not args.fsdp and args.zero_stage is None:
        yield (
            f"{flag}: slices of layers go with shards: add --fsdp or --zero_stage 1 or 2, or set --sp_size, which "
            "whole models can do"
        )
    if config.lora.lora_rank > 0:
        yield (f"{flag} with --lora_rank {config.lora.lora_rank}: adapters stand on whole layers: leave --tp_size out")
    if config.train.compile:
        yield f"--compile with {flag}, whose layers exchange sums within themselves: leave one of them out"


def _colocation_problems(args: ParallelArgs) -> Iterator[str]:
    from lightrft_strategy.devices import device

    if device().type == "cpu":
        yield "--placement colocate: this machine has no accelerator to take anything off: leave --placement out"
    if args.zero_stage is not None:
        yield f"--placement colocate with --zero_stage {args.zero_stage}: set --adam_offload instead, or --fsdp"
    if args.fsdp_offload:
        yield "--placement colocate with --fsdp_offload, which keeps all of it in CPU memory: leave one of them out"

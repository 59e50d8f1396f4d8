"""Whether the run can be spread over processes as the flags say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from lightrft_apps.config.effects import without_effect
from lightrft_apps.config.rl import RLConfig


def parallel_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that spread a run over the processes there are."""
    args, ranks = config.parallel, int(os.environ.get("WORLD_SIZE", "1"))
    yield from holding_problems(config)
    yield from without_effect(config, [(("ranks_timeout",), ranks > 1, "start several processes by lightrft launch")])
    if args.fsdp and "RANK" not in os.environ:
        yield "--fsdp: shards are held by processes that a launcher starts: lightrft launch --nproc_per_node 1 rl ..."
    if args.zero_stage is not None and find_spec("deepspeed") is None:
        yield f"--zero_stage {args.zero_stage}: the package deepspeed is not installed: uv sync --extra deepspeed"
    engine = config.engine
    if ranks > 1 and engine.engine_type != "embedded" and not engine.engine_server and engine.engine_url is None:
        yield (
            f"--engine_type {engine.engine_type}: an engine inside one of {ranks} processes would take part in their "
            "collectives: set --engine_server"
        )


def holding_problems(config: RLConfig) -> Iterator[str]:
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
    if args.fsdp and args.zero_stage is not None:
        yield f"--fsdp and --zero_stage {args.zero_stage} are two ways of holding a model: leave one of them out"

"""Whether models can be computed in the precision that the flags ask for, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from lightrft_apps.config.sections import ModelArgs


def precision_conflict(args: ModelArgs) -> Iterator[str]:
    """What to change if two precisions are asked for."""
    if args.bf16 and args.fp16:
        yield "--bf16 and --fp16 are two precisions to compute in: leave one of them out"


def precision_problems(args: ModelArgs, zero_stage: int | None = None) -> Iterator[str]:
    """What to change if two precisions are asked for, or one that this machine does not compute in."""
    yield from precision_conflict(args)
    if not (args.bf16 or args.fp16):
        return
    import torch

    from lightrft_strategy.devices import computes_in, device

    flag, name = ("fp16", "float16") if args.fp16 else ("bf16", "bfloat16")
    dtype = getattr(torch, name)
    other = "bf16" if args.fp16 else "fp16"
    if not computes_in(dtype):
        yield f"--{flag}: {device().type} does not compute in {name} here: set --{other}, or leave --{flag} out"
    elif zero_stage is not None and find_spec("deepspeed") is not None:
        from lightrft_strategy.training.zero import deepspeed_computes_in

        if not deepspeed_computes_in(dtype):
            yield (
                f"--{flag} with --zero_stage {zero_stage}: DeepSpeed does not compute in {name} on this "
                f"{device().type}: set --{other}, or hold the model by --fsdp"
            )

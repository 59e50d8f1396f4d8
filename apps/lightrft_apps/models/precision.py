"""What models are computed in, as the flags say."""

from __future__ import annotations

import torch

from lightrft_apps.config import ModelArgs


def compute_dtype(args: ModelArgs) -> torch.dtype:
    """bfloat16 with --bf16, float16 with --fp16, else float32."""
    return torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else torch.float32


def dtype_name(args: ModelArgs) -> str:
    """The same as engines spell it."""
    return str(compute_dtype(args)).removeprefix("torch.")

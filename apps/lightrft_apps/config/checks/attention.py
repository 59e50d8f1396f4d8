"""Whether models can attend by the kernel that the flags ask for, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.sections import ModelArgs


def attention_problems(args: ModelArgs, *, packing: bool = False) -> Iterator[str]:
    """What to change about a kernel that there is not, or that cannot compute what the other flags ask for.

    packing: whether rows are to be packed, whose attention is our own.
    """
    name = args.attn_implementation
    if name in (None, "sdpa"):
        return
    flag = f"--attn_implementation {name}"
    if packing:
        yield f"{flag} with --packing_samples, whose rows bring an attention of their own: leave one of them out"
    if "flash" in name:
        yield from _flash_problems(flag, name, args)
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
    if name not in known and "/" not in name:
        offered = ", ".join(sorted(each for each in known if not each.startswith(("paged", "lightrft"))))
        yield f"{flag}: set it to one of {offered}, or leave it out"


def _flash_problems(flag: str, name: str, args: ModelArgs) -> Iterator[str]:
    from transformers.utils import import_utils

    from lightrft_strategy.devices import device

    if device().type == "cpu":
        yield f"{flag}: flash attention is computed on accelerators, and there is none here: leave it out"
        return
    installed = {
        "flash_attention_2": ("flash-attn", import_utils.is_flash_attn_2_available),
        "flash_attention_3": ("flash-attn-3", import_utils.is_flash_attn_3_available),
        "flash_attention_4": ("flash-attn-4", import_utils.is_flash_attn_4_available),
    }
    package, found = installed.get(name, ("kernels", import_utils.is_kernels_available))
    if not (found() or import_utils.is_kernels_available()):
        yield f"{flag}: the package {package} is not installed: install it, or leave {flag.split()[0]} out"
    if not (args.bf16 or args.fp16):
        yield f"{flag}: flash attention computes in bfloat16 and float16 alone: set --bf16, or leave it out"

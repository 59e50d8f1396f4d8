"""Where tensors live: the one place that knows which accelerator this machine has."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Sequence

import torch

_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "npu": "ASCEND_RT_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
"""By which variable each kind of accelerator is chosen for a process."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@functools.cache
def device() -> torch.device:
    """The current accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def supports_fp8() -> bool:
    """Whether the accelerator multiplies matrices of 8-bit floating point."""
    return device().type == "cuda" and torch.cuda.get_device_capability() >= (8, 9)


def computes_in(dtype: torch.dtype) -> bool:
    """Whether the device multiplies matrices of this type."""
    try:
        part = torch.ones(2, 2, dtype=dtype, device=device())
        return bool((part @ part).isfinite().all())
    except (RuntimeError, TypeError):
        return False


def only(places: Sequence[int]) -> dict[str, str]:
    """The environment in which a child process sees these accelerators alone, of those we see; {} on the CPU.

    Raises ValueError if there are not so many.
    """
    if device().type not in _VISIBLE or not places:
        return {}
    variable = _VISIBLE[device().type]
    seen = os.environ.get(variable) or ",".join(map(str, range(torch.accelerator.device_count())))
    names = seen.split(",")
    if max(places) >= len(names):
        raise ValueError(f"the engines need {max(places) + 1} accelerators, and {variable} shows {len(names)}")
    return {variable: ",".join(names[place] for place in places)}


def keep_freed_memory() -> None:
    """On the CPU, let glibc keep freed blocks for the next tensor instead of handing them back to the kernel.

    By default every large tensor is mapped, and its pages are faulted in, anew, at a visible cost in system time.
    """
    if device().type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)

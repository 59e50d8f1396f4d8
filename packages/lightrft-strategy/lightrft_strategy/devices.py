"""Where tensors live: the one place that knows which accelerator this machine has."""

from __future__ import annotations

import ctypes
import platform

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def device() -> torch.device:
    """The current accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def supports_fp8() -> bool:
    """Whether the accelerator multiplies matrices of 8-bit floating point."""
    return device().type == "cuda" and torch.cuda.get_device_capability() >= (8, 9)


def keep_freed_memory() -> None:
    """On the CPU, let glibc keep freed blocks for the next tensor instead of handing them back to the kernel.

    By default every large tensor is mapped, and its pages are faulted in, anew, at a visible cost in system time.
    """
    if device().type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)

"""Peak rates and memory of accelerators by their makers' data sheets, and of this machine by a short measurement."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from lightrft_strategy.devices import device
from lightrft_strategy.roofline import memory_bandwidth

GIB = 2**30


@dataclass(frozen=True)
class Accelerator:
    """flops: dense bfloat16 (without sparsity), a second. bandwidth: of its memory, bytes a second.

    memory: bytes; what data sheets call a GB is 2**30 bytes on all of these. source: where the numbers stand.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    source: str


def _sheet(name: str, tflops: float, gbytes: float, memory: int, source: str) -> Accelerator:
    return Accelerator(name, tflops * 1e12, gbytes * 1e9, memory * GIB, source)


KNOWN = {
    entry.name: entry
    for entry in (
        _sheet("H200", 989, 4800, 141, "NVIDIA H200 Tensor Core GPU data sheet (SXM; half of the rate with sparsity)"),
        _sheet("H100", 989, 3350, 80, "NVIDIA H100 Tensor Core GPU data sheet (SXM; half of the rate with sparsity)"),
        _sheet("H100-PCIe", 756, 2000, 80, "NVIDIA H100 Tensor Core GPU data sheet (PCIe; half, with sparsity)"),
        _sheet("A100", 312, 2039, 80, "NVIDIA A100 Tensor Core GPU data sheet (80 GB, SXM)"),
        _sheet("A100-40GB", 312, 1555, 40, "NVIDIA A100 Tensor Core GPU data sheet (40 GB, SXM)"),
        _sheet("L40S", 362, 864, 48, "NVIDIA L40S data sheet"),
        _sheet("L4", 121, 300, 24, "NVIDIA L4 Tensor Core GPU data sheet (half of the rate with sparsity)"),
        _sheet("RTX4090", 165, 1008, 24, "NVIDIA Ada GPU architecture white paper (float32 accumulation)"),
        _sheet("MI300X", 1307, 5300, 192, "AMD Instinct MI300X accelerator data sheet"),
    )
}
"""By the name that --device gives them. Ascend's 910B is not here: no public data sheet states its numbers."""


def this_machine(dtype: torch.dtype) -> Accelerator:
    """The accelerator of this process, or the CPU with all memory of the machine; rates measured now, in a second."""
    where = device()
    if where.type == "cpu":
        name, memory = "this machine's CPU", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        name = str(torch.get_device_module(where).get_device_name())
        memory = torch.accelerator.get_memory_info(where)[1]
    return Accelerator(name, matmul_rate(dtype), memory_bandwidth(2**27), float(memory), "measured here and now")


def matmul_rate(dtype: torch.dtype, size: int = 1024, repeats: int = 4) -> float:
    """Floating-point operations a second of the best of a few products of square matrices."""
    left = torch.ones(size, size, dtype=dtype, device=device())
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        float((left @ left)[0, 0])
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best

"""How fast this machine multiplies matrices, a measurement a turn: python -m vs_trl_sides.matmul_side."""

from __future__ import annotations

import time

import torch

from vs_trl_sides.turns import Turns

SIZE, REPEATS = 2048, 5


def flops(dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of a few products of square matrices."""
    a, b = torch.randn(2, SIZE, SIZE).to(dtype).unbind()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best


def main() -> None:
    turns, report = Turns(), {"threads": torch.get_num_threads()}
    while True:
        turns.wait(report)
        report = {"bfloat16": flops(torch.bfloat16), "float32": flops(torch.float32)}


if __name__ == "__main__":
    main()

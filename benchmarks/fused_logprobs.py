"""chosen_logprobs, forward and backward, against materialised logits: peak memory and time.

    uv run python benchmarks/fused_logprobs.py --repeats 3

writes docs/benchmarks/fused_logprobs.json. Every case is measured in processes of its own: one for the memory of each
side, one for their times, in turns. Memory is read from /proc, so it needs Linux; 8 GB are enough.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightrft_core import chosen_logprobs

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "fused_logprobs.json"
SIDES = ("materialised", "fused")
CASES = [(dtype, entropy) for dtype in ("float32", "bfloat16") for entropy in (False, True)]


def score(side: str, hidden: Tensor, head: Tensor, ids: Tensor, entropy: bool) -> Tensor:
    """The loss of a policy gradient, with a bonus for entropy if asked."""
    if side == "fused":
        logprobs, uncertainty = chosen_logprobs(hidden, head, ids)
    else:
        law = (hidden @ head.T).float().log_softmax(-1)
        logprobs = law.gather(-1, ids[:, None])[:, 0]
        uncertainty = -(law.exp() * law).sum(-1) if entropy else logprobs
    return -logprobs.mean() - 0.01 * uncertainty.mean() if entropy else -logprobs.mean()


def inputs(sizes: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """hidden [tokens, dim], head [vocab, dim], ids [tokens]: logits of standard deviation 3."""
    torch.manual_seed(0)
    dtype = getattr(torch, sizes.dtype)
    hidden = torch.randn(sizes.tokens, sizes.dim, dtype=dtype)
    head = torch.empty(sizes.vocab, sizes.dim, dtype=dtype).normal_(std=3 / sizes.dim**0.5)
    return hidden.requires_grad_(), head.requires_grad_(), torch.randint(sizes.vocab, (sizes.tokens,))


def run(side: str, hidden: Tensor, head: Tensor, ids: Tensor, entropy: bool) -> tuple[float, float]:
    """(wall seconds, processor seconds) of a forward and backward pass; leaves the gradients."""
    hidden.grad = head.grad = None
    start, processor = time.perf_counter(), time.process_time()
    score(side, hidden, head, ids, entropy).backward()
    return time.perf_counter() - start, time.process_time() - processor


def resident(field: str) -> int:
    """Bytes: VmRSS, what is resident now, or VmHWM, the most since `clear_refs` was written to."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def measure_memory(sizes: argparse.Namespace) -> dict[str, Any]:
    hidden, head, ids = inputs(sizes)
    run(sizes.side, hidden[:8].detach().requires_grad_(), head[:4096].detach().requires_grad_(), ids[:8] % 4096, True)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run(sizes.side, hidden, head, ids, sizes.entropy)
    gradients = sum(leaf.numel() * leaf.element_size() for leaf in (hidden, head))
    return {"peak": resident("VmHWM") - before, "gradients": gradients}


def measure_time(sizes: argparse.Namespace) -> dict[str, Any]:
    hidden, head, ids = inputs(sizes)
    seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    gradients: dict[str, Tensor] = {}
    load: list[float] = []
    for _ in range(sizes.repeats):
        for side in SIDES:
            load.append(round(os.getloadavg()[0], 2))
            seconds[side].append(run(side, hidden, head, ids, sizes.entropy))
            assert hidden.grad is not None
            gradients[side] = hidden.grad
    error = (gradients["fused"] - gradients["materialised"]).norm() / gradients["materialised"].norm()
    return {"seconds": seconds, "load": load, "hidden_gradient_differs_by": float(error)}


def in_child(what: str, sizes: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    values = vars(sizes) | changes | {"what": what}
    words = [f"--{name}={value}" for name, value in values.items() if value not in (None, False)]
    words = [word.removesuffix("=True") for word in words]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True, timeout=3600)
    return dict(json.loads(done.stdout))


def longer(sizes: argparse.Namespace, materialised: int) -> dict[str, Any]:
    """Peaks at more tokens: the fused side's measured, the other's on the line through half of the tokens and all."""
    half = in_child("memory", sizes, side="materialised", tokens=sizes.tokens // 2)["peak"]
    reached = materialised + (materialised - half) * (sizes.longer - sizes.tokens) / (sizes.tokens - sizes.tokens // 2)
    fused = in_child("memory", sizes, side="fused", tokens=sizes.longer)
    return {
        "tokens": sizes.longer,
        "fused": fused,
        "materialised_peak_extrapolated": round(reached),
        "peak_ratio": fused["peak"] / reached,
    }


def measure_case(sizes: argparse.Namespace) -> dict[str, Any]:
    memory = {side: in_child("memory", sizes, side=side) for side in SIDES}
    timed = in_child("time", sizes)
    turns = [*zip(*(timed["seconds"][side] for side in SIDES), strict=True)]
    wall, processor = ([fused[i] / materialised[i] for materialised, fused in turns] for i in (0, 1))
    above = {side: numbers["peak"] - numbers["gradients"] for side, numbers in memory.items()}
    return {
        "dtype": sizes.dtype,
        "entropy": sizes.entropy,
        "memory_bytes": memory,
        "peak_ratio": memory["fused"]["peak"] / memory["materialised"]["peak"],
        "peak_ratio_without_gradients": above["fused"] / above["materialised"],
        "time_ratio": {"median": statistics.median(wall), "range": [min(wall), max(wall)]},
        "processor_time_ratio": {"median": statistics.median(processor), "range": [min(processor), max(processor)]},
        "longer": longer(sizes, memory["materialised"]["peak"]),
        **timed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tokens", 2048), ("longer", 8192), ("vocab", 150_000), ("dim", 1024), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--what", choices=["memory", "time"], help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    parser.add_argument("--entropy", action="store_true", help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.what:
        print(json.dumps((measure_memory if sizes.what == "memory" else measure_time)(sizes)))
        return
    cases = []
    for dtype, entropy in CASES:
        case = measure_case(argparse.Namespace(**vars(sizes) | {"dtype": dtype, "entropy": entropy}))
        cases.append(case)
        peaks = "{:.1%} of the peak, {:.1%} without gradients, {:.1%} at {} tokens".format(
            case["peak_ratio"], case["peak_ratio_without_gradients"], case["longer"]["peak_ratio"], sizes.longer
        )
        wall, processor = (case[name]["median"] for name in ("time_ratio", "processor_time_ratio"))
        print(f"{dtype:<9} entropy {entropy!s:<5} {peaks}; {wall:.2f}x the time, {processor:.2f}x the processor time")
    report = {
        "what": "chosen_logprobs over log_softmax of materialised logits, forward and backward; without entropy the "
        "materialised side computes none. Memory: most resident bytes of a process above its inputs. "
        "Seconds: (wall, processor) of each turn",
        "shape": f"{sizes.tokens} tokens x {sizes.vocab} vocabulary x {sizes.dim} dim",
        "repeats": sizes.repeats,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cases": cases,
    }
    OUT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

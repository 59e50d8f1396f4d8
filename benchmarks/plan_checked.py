"""What `lightrft plan` says that the phases of a step need, next to what they took, on this CPU.

    uv run python benchmarks/plan_checked.py

runs `lightrft rl` on SmolLM2-135M for two steps by each of several sets of flags, plans the same flags, and writes
docs/benchmarks/plan.json. Each run and each plan is a process of its own. A phase's peak is the kernel's high-water
mark of resident memory, which a run resets before each phase and writes to its metrics. Freed memory stays with a
process on the CPU, so sampling counts by the first step, before anything has been learnt; learning by the largest of
both steps. Answers are all of the longest length, as a plan takes them to be. The program itself, which the plan reads
off its own process, is taken off both sides of "ratio_without_program".
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from lightrft_apps import RLConfig
from lightrft_apps.models import compose
from lightrft_strategy.data import load_prompts

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "benchmarks" / "plan.json"
GIB = 2**30
SHARED: dict[str, Any] = {
    "pretrain": "smollm2",
    "prompt_data": str(ROOT / "examples/data/sums_train.jsonl"),
    "input_key": "problem",
    "label_key": "answer",
    "apply_chat_template": True,
    "reward_fn": "reward.py:score",
    "rollout_batch_size": 8,
    "n_samples_per_prompt": 8,
    "generate_max_len": 32,
    "generate_min_len": 32,
    "max_tokens_per_micro_batch": 2048,
    "micro_train_batch_size": 128,
    "max_steps": 2,
    "save_steps": -1,
}
REWARD = """
def score(prompts, responses, labels):
    return [sum(letter in "aeiou" for letter in response) / max(1, len(response)) for response in responses]
"""
"""Of which answers earn different shares, so that all of them are learnt from."""
CASES: dict[str, dict[str, Any]] = {
    "float32": {"init_kl_coef": 0.0},
    "float32, packed": {"init_kl_coef": 0.0, "packing_samples": True},
    "float32, a reference": {"init_kl_coef": 0.04},
    "float32, layers computed again": {"init_kl_coef": 0.0, "gradient_checkpointing": True},
    "bfloat16": {"init_kl_coef": 0.0, "bf16": True},
    "bfloat16, packed": {"init_kl_coef": 0.0, "bf16": True, "packing_samples": True},
    "bfloat16, an adapter of rank 16": {"init_kl_coef": 0.0, "bf16": True, "lora_rank": 16},
}


def command(name: str, flags: dict[str, Any]) -> list[str]:
    """A command of lightrft in an interpreter of its own."""
    words = [f"--{flag}" if value is True else f"--{flag}={value}" for flag, value in flags.items()]
    return [sys.executable, "-P", "-m", "lightrft_apps", name, *words]


def predicted(flags: dict[str, Any], prompt_len: int, folder: Path) -> dict[str, Any]:
    """The phases of the plan."""
    (folder / "reward.py").write_text(REWARD)
    asked = flags | {"prompt_len": prompt_len, "response_len": flags["generate_max_len"], "json": True}
    ended = subprocess.run(command("plan", asked), stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
    phases: dict[str, Any] = json.loads(ended.stdout)["phases"]
    return phases


def measured(flags: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The metrics of the run's steps."""
    words = command("rl", flags | {"output_dir": folder / "run"})
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def check(flags: dict[str, Any], prompt_len: int, folder: Path) -> dict[str, Any]:
    """Both, by phase, in GiB, and what is predicted over what was measured."""
    plan, steps = predicted(flags, prompt_len, folder), measured(flags, folder)
    phases: dict[str, Any] = {}
    for phase in ("sample", "optimise"):
        peaks = [step[f"memory/{phase}_peak_gib"] for step in steps]
        took = max(peaks) if phase == "optimise" else peaks[0]
        says, program = plan[phase]["total_bytes"] / GIB, plan[phase]["parts_bytes"]["the program itself"] / GIB
        phases[phase] = {
            "predicted_gib": says,
            "measured_gib": took,
            "program_gib": program,
            "ratio": says / took,
            "ratio_without_program": (says - program) / (took - program),
            "parts_gib": {part: size / GIB for part, size in plan[phase]["parts_bytes"].items()},
        }
    return phases


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--output", type=Path, default=OUT)
    args = parser.parse_args()
    config = RLConfig.create(**SHARED, output_dir="unused")
    tokenizer = compose.load_tokenizer(config.model)
    prompts = load_prompts(compose.prompt_spec(config.data), tokenizer).sources[0]
    prompt_len = max(len(prompt.token_ids) for prompt in prompts)
    cases: dict[str, Any] = json.loads(args.output.read_text())["cases"] if args.output.exists() else {}
    for name in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = {"flags": CASES[name], "phases": check(SHARED | CASES[name], prompt_len, Path(folder))}
        for phase, found in cases[name]["phases"].items():
            says, took = found["predicted_gib"], found["measured_gib"]
            print(f"{name}: {phase} {says:.2f} GiB / {took:.2f} GiB = {found['ratio']:.2f}", flush=True)
        machine = {"processor": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
        shared = SHARED | {"prompt_data": "examples/data/sums_train.jsonl"}
        written = {"machine": machine, "prompt_len": prompt_len, "shared_flags": shared, "cases": cases}
        args.output.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()

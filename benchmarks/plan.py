"""What `lightrft plan` predicts of runs of SmolLM2-135M on this machine's CPU, beside what the runs then take.

    uv run python benchmarks/plan.py

runs two steps of each setting with answers of one length, in processes of its own, as `lightrft rl` does: the first
for what is resident, memory/*_peak_gib of its metrics, the second for the bytes of tensors that are alive at once
(benchmarks/watched_run.py). `lightrft plan --json` is asked with the very same flags. It writes
docs/benchmarks/plan.json: every run by itself with its flags, what was planned and what was measured of each phase, on
the first process, and their ratios.

The program itself is left out on both sides: of the plan the part of that name, of the run what is resident just before
the model is loaded. On the CPU freed memory stays with a process: what is resident in a phase is compared with the most
that was planned of it and of those before it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
OUT = BENCHMARKS.parent / "docs" / "benchmarks" / "plan.json"
PHASES = ("sample", "estimate", "optimise", "publish")
PROGRAM = "the program itself"
GIB = 2**30

COMMON: dict[str, Any] = {
    "pretrain": "smollm2",
    "reward_fn": f"{BENCHMARKS / 'plan.py'}:coin",
    "rollout_batch_size": 2,
    "n_samples_per_prompt": 16,
    "prompt_max_len": 64,
    "generate_max_len": 32,
    "generate_min_len": 32,
    "micro_train_batch_size": 64,
    "init_kl_coef": 0,
    "num_episodes": 10,
    "max_steps": 2,
    "progress": False,
}
"""Of every run; all answers have the same length, and so have all prompts. Of 512 tokens the second micro-batch is."""

SHORT = {"max_tokens_per_micro_batch": 512}
LONG = {"max_tokens_per_micro_batch": 2048, "rollout_batch_size": 1, "n_samples_per_prompt": 62}
PACKED, BF16, RECOMPUTED = {"packing_samples": True}, {"bf16": True}, {"gradient_checkpointing": True}
MANY = {"n_samples_per_prompt": 32, "generate_max_len": 48, "generate_min_len": 48}
TWO = BF16 | PACKED | SHORT | {"rollout_batch_size": 4}
MORE = {"algorithm": "ppo", "init_kl_coef": 0.1}

SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "float32, packed, 512": (1, PACKED | SHORT),
    "float32, packed, 2048": (1, PACKED | LONG),
    "float32, padded, 512": (1, SHORT),
    "float32, padded, 2048": (1, LONG),
    "bf16, packed, 512": (1, BF16 | PACKED | SHORT),
    "bf16, packed, 2048": (1, BF16 | PACKED | LONG),
    "bf16, padded, 2048": (1, BF16 | LONG),
    "bf16, packed, 2048, recomputed": (1, BF16 | PACKED | LONG | RECOMPUTED),
    "float32, padded, 512, recomputed": (1, SHORT | RECOMPUTED),
    "bf16, packed, 2048, LoRA": (1, BF16 | PACKED | LONG | {"lora_rank": 16}),
    "float32, packed, 512, reference and critic": (1, PACKED | SHORT | MORE),
    "bf16, packed, 512, 64 answers of 48": (1, BF16 | PACKED | SHORT | MANY),
    "bf16, packed, 512, two processes": (2, TWO),
    "bf16, packed, 512, --fsdp on two": (2, TWO | {"fsdp": True}),
    "bf16, packed, 512, --zero_stage 1 on two": (2, TWO | {"zero_stage": 1}),
    "bf16, packed, 512, --zero_stage 2 on two": (2, TWO | {"zero_stage": 2}),
    "bf16, packed, 512, --zero_stage 3 on two": (2, TWO | {"zero_stage": 3}),
}
"""By what a row of the table is called: processes, and flags beside the common ones."""


def coin(prompts: list[str], responses: list[str], labels: list[str]) -> list[float]:
    """A reward that differs between the answers of a prompt, so that all are learnt from."""
    return [float(sum(map(ord, response)) % 2) for response in responses]


def write_prompts(path: Path, tokens: int) -> None:
    """Rows of digits, each of which is a token of SmolLM2's."""
    rng = random.Random(0)
    rows = [{"input": "".join(rng.choices("0123456789", k=tokens)), "label": ""} for _ in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def words(flags: dict[str, Any]) -> list[str]:
    return [word for name, value in flags.items() for word in (f"--{name}", json.dumps(value).strip('"'))]


def call(*command: str, ranks: int = 1) -> str:
    """What a command prints, under the launcher if it is for several processes. Raises RuntimeError if it fails.

    A plan that does not fit is one too: it ends with code 1.
    """
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    environment = {"GOMP_SPINCOUNT": "1000"} | os.environ
    done = subprocess.run([sys.executable, *launch, *command], env=environment, capture_output=True, text=True)
    if done.returncode and not ("plan" in command and done.stdout):
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def measure(name: str, scratch: Path) -> dict[str, Any]:
    """One setting, planned and run."""
    ranks, flags = SETTINGS[name]
    flags = COMMON | flags
    prompts, notes = scratch / "prompts.jsonl", scratch / "notes.json"
    write_prompts(prompts, flags["prompt_max_len"])
    told = words(flags | {"prompt_data": str(prompts), "output_dir": str(scratch / "run")})
    plan = json.loads(call("-m", "lightrft_apps", "plan", "--json", "--gpus", str(ranks), *told))["phases"]
    call(str(BENCHMARKS / "watched_run.py"), str(notes), *told, ranks=ranks)
    noted = json.loads(notes.read_text())
    expected = [[flags["prompt_max_len"], flags["generate_max_len"]]]
    if noted["lengths"] != expected:
        raise RuntimeError(f"{name}: prompts and answers of {noted['lengths']} tokens, not of {expected}")
    first = json.loads((scratch / "run" / "metrics.jsonl").read_text().splitlines()[0])
    phases, most = {}, 0
    for phase in PHASES:
        parts = plan[phase]["parts_bytes"]
        program = parts.pop(PROGRAM)
        planned, alive = sum(parts.values()), noted["alive"][phase]
        resident = round(first[f"memory/{phase}_peak_gib"] * GIB) - noted["program"]
        most = max(most, planned)
        phases[phase] = {
            "planned": planned,
            "alive": alive,
            "planned_over_alive": planned / alive,
            "resident": resident,
            "planned_over_resident": most / resident,
            "planned_parts": parts,
        }
    return {
        "name": name,
        "processes": ranks,
        "flags": flags | {"reward_fn": "benchmarks/plan.py:coin"},
        "program": {"planned": program, "resident": noted["program"]},
        "phases": phases,
    }


def show(run: dict[str, Any]) -> str:
    """A run as lines of a table."""
    lines = [run["name"]]
    for phase in PHASES[:3]:
        row = run["phases"][phase]
        alive = f"tensors {row['alive'] / GIB:5.2f}: {row['planned_over_alive']:.2f}"
        resident = f"resident {row['resident'] / GIB:5.2f}: {row['planned_over_resident']:.2f}"
        lines.append(f"  {phase:<9} planned {row['planned'] / GIB:5.2f} GiB; {alive}; {resident}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*SETTINGS], metavar="NAME", help="some settings (default: all)")
    args = parser.parse_args()
    unknown = {*args.only} - {*SETTINGS}
    if unknown:
        parser.error(f"no settings {sorted(unknown)}; there are {', '.join(SETTINGS)}")
    kept = {run["name"]: run for run in json.loads(OUT.read_text())["runs"]} if OUT.exists() else {}
    for number, name in enumerate(args.only, start=1):
        with tempfile.TemporaryDirectory() as scratch:
            kept[name] = measure(name, Path(scratch))
        print(f"{number}/{len(args.only)} {show(kept[name])}", flush=True)
        result = {
            "what": "bytes planned and measured on the first process, the program itself left out of both",
            "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "torch": version("torch")},
            "runs": [kept[setting] for setting in SETTINGS if setting in kept],
        }
        OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

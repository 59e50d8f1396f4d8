"""The quick starts of reward models over seeds: how far each agrees with held-out comparisons, and what it teaches.

    uv run python benchmarks/quickstart_rewards.py --seeds 1 2 3

writes docs/benchmarks/quickstart_rewards.json, where runs of other kinds, modalities and seeds stay, and
quickstart_rewards.svg beside it: true reward and the scalar reward model's over the steps of the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "docs" / "benchmarks"
KINDS, MODALITIES = ("scalar", "generative"), ("image", "video", "audio", "mixed")


def measure(kind: str, modality: str, seed: int, folder: Path) -> dict[str, Any]:
    """One quick start in a process of its own, with what it cost from outside."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = ["--reward-model", kind, "--modality", modality, "--output_dir", str(folder), "--seed", str(seed)]
    subprocess.run([sys.executable, "-m", "lightrft_apps", "quickstart", *words, "--no-progress"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "grpo" / "metrics.jsonl").read_text().splitlines()]
    return {
        "kind": kind,
        "modality": modality,
        "seed": seed,
        **{name: summary[name] for name in ("before", "after", "over_optimisation")},
        "reward_model": agreement(summary["reward_model"]),
        "gain_points": 100 * (summary["after"]["value"] - summary["before"]["value"]),
        "intervals_disjoint": summary["before"]["interval"][1] < summary["after"]["interval"][0],
        "both_rewards": json.loads((folder / "over_optimisation.json").read_text()),
        "wall_seconds": time.perf_counter() - start,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "load_average_median": sorted(line["time/load_average"] for line in lines)[len(lines) // 2],
    }


def agreement(evaluated: dict[str, Any]) -> dict[str, Any]:
    """How far the reward model agrees with held-out comparisons; of a judge in both orders."""
    measures = evaluated["models"][0]["measures"]["score"]["all"]
    return {name: measures[name] for name in ("comparisons", "failed", "agreement", "position") if name in measures}


def place(run: dict[str, Any]) -> tuple[int, int, int]:
    """Where a run stands among the others."""
    return KINDS.index(run["kind"]), MODALITIES.index(run["modality"]), run["seed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--modalities", nargs="+", choices=MODALITIES, default=["image"])
    args = parser.parse_args()
    file = OUT / "quickstart_rewards.json"
    runs: list[dict[str, Any]] = json.loads(file.read_text())["runs"] if file.exists() else []
    machine = {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    for key in [(kind, modality, seed) for kind in args.kinds for modality in args.modalities for seed in args.seeds]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            run = measure(*key, folder)
            runs = sorted([*(other for other in runs if place(other) != place(run)), run], key=place)
            file.write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")
            if place(run) == (0, 0, 1):
                (OUT / "quickstart_rewards.svg").write_text((folder / "over_optimisation.svg").read_text())


if __name__ == "__main__":
    main()

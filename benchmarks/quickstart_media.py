"""The quick starts of pictures, films and sounds over seeds: accuracy before, after and with swapped media, and cost.

    uv run python benchmarks/quickstart_media.py --seeds 1 2 3

writes docs/benchmarks/quickstart_media.json, where runs of other modalities stay, and quickstart_media.svg beside it.
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

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent.parent / "docs" / "benchmarks"
MODALITIES = ("image", "video", "audio", "mixed")


def measure(modality: str, seed: int, folder: Path) -> dict[str, Any]:
    """One quick start in a process of its own, with what it cost from outside."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = ["--modality", modality, "--output_dir", str(folder), "--seed", str(seed), "--no-progress"]
    subprocess.run([sys.executable, "-m", "lightrft_apps", "quickstart", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "grpo" / "metrics.jsonl").read_text().splitlines()]
    return {
        "modality": modality,
        "seed": seed,
        **summary,
        "intervals_disjoint": summary["before"]["interval"][1] < summary["after"]["interval"][0],
        "wall_seconds": time.perf_counter() - start,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "load_average_median": sorted(line["time/load_average"] for line in lines)[len(lines) // 2],
        "rewards": json.loads((folder / "grpo" / "summary.json").read_text())["rewards"],
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Of each modality the mean reward of each step of GRPO, and held-out accuracy before, after, and swapped."""
    shown = [modality for modality in MODALITIES if any(run["modality"] == modality for run in runs)]
    figure, panels = plt.subplots(1, len(shown), figsize=(3 * len(shown), 2.8), sharey=True, squeeze=False)
    for axes, modality in zip(panels[0], shown, strict=True):
        for run in (run for run in runs if run["modality"] == modality):
            last = len(run["rewards"])
            (line,) = axes.plot(range(1, last + 1), run["rewards"], linewidth=1, label=f"seed {run['seed']}")
            ends = [run["before"]["value"], run["after"]["value"]]
            axes.plot([0, last], ends, "o", color=line.get_color(), markersize=5)
            axes.plot([last], [run["swapped"]["value"]], "x", color=line.get_color(), markersize=6)
        axes.axhline(0.25, color="grey", linewidth=0.5, linestyle=":")
        axes.set_title(modality, fontsize=9)
        axes.set_xlabel("step of GRPO")
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("share of right answers")
    panels[0][-1].legend(frameon=False, fontsize=8)
    figure.suptitle("lines: sampled answers; dots: held out, greedy; crosses: with another riddle's medium", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--modalities", nargs="+", choices=MODALITIES, default=MODALITIES)
    args = parser.parse_args()
    file = OUT / "quickstart_media.json"
    before = json.loads(file.read_text())["runs"] if file.exists() else []
    runs: list[dict[str, Any]] = [run for run in before if run["modality"] not in args.modalities]
    machine = {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    for modality in args.modalities:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                runs.append(measure(modality, seed, Path(scratch) / "run"))
            runs.sort(key=lambda run: (MODALITIES.index(run["modality"]), run["seed"]))
            file.write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")
    draw(runs, OUT / "quickstart_media.svg")


if __name__ == "__main__":
    main()

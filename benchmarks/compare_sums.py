"""Six algorithms on the quick start's task, three seeds each, as `lightrft compare` runs them.

    uv run python benchmarks/compare_sums.py

writes docs/benchmarks/compare_sums.json, .md and .svg. It takes about an hour on two CPU cores; stopped, it goes on by
the same command. Its runs stay in runs/compare_sums.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "compare_sums"
SETTINGS = {
    "algorithms": "grpo,dapo,gspo,cpgd,cispo,rloo",
    "seeds": "1,2,3",
    "rollout_batch_size": "8",
    "train_batch_size": "32",
    "max_steps": "12",
    "actor_learning_rate": "3e-5",
    "stop_properly_penalty_coef": "0.5",
    "eval_generate_max_len": "32",
    "eval_max_samples": "100",
}
"""Two optimiser steps on each batch of 64 answers; everything else is the quick start's, or the algorithm's own."""


def main() -> None:
    flags = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "lightrft_apps", "compare", *flags, "--output_dir", str(RUNS)], check=True)
    for suffix in ("json", "md", "svg"):
        text = (RUNS / f"compare.{suffix}").read_text(encoding="utf-8").replace(f"{ROOT}/", "")
        (ROOT / "docs" / "benchmarks" / f"compare_sums.{suffix}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""From every step of every side to medians, ratios with their spread, a floor, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from vs_trl_sides.task import Shape

PHASES = {"generate": "#0072b2", "reward": "#cc79a7", "learn": "#d55e00", "publish": "#009e73", "other": "#999999"}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def summary(runs: Mapping[str, Any], shape: Shape, sides: Sequence[str]) -> dict[str, Any]:
    """Over all seeds' blocks but the warming ones; rewards over all blocks."""
    timed = [block for run in runs.values() for block in run["blocks"][1:]]
    peak = {kind: max(block["matmul"][kind] for block in timed) for kind in ("bfloat16", "float32")}
    facts = next(iter(runs.values()))["facts"]
    model = next(fact for fact in facts.values() if "body" in fact)
    result: dict[str, Any] = {"matmul_gflops": {kind: value / 1e9 for kind, value in peak.items()}, "sides": {}}
    for name in sides:
        steps = [block[name] for block in timed]
        seconds = [step["seconds"] for step in steps]
        needed = [flops(step, shape, model["body"], model["head"]) / peak["bfloat16"] for step in steps]
        result["sides"][name] = {
            "seconds": spread(seconds),
            "processor_seconds": spread([step["cores_own"] * step["seconds"] for step in steps]),
            "samples_per_second": spread([shape.answers / value for value in seconds]),
            "tokens_per_second": spread([sum(step["lengths"]) / step["seconds"] for step in steps]),
            "seconds_by_phase": by_phase(steps),
            "floor_seconds": spread(needed),
            "seconds_over_floor": spread([a / b for a, b in zip(seconds, needed, strict=True)]),
            "answer_tokens": mean(mean(step["lengths"]) for step in steps),
            "learnt_from_share": mean(step["trained"] / shape.answers for step in steps),
            "cores_others": spread([step["cores_others"] for step in steps]),
            "resident_gib": max(run["resident_gib"][name] for run in runs.values()),
            "rewards": curves(runs, name),
        }
    peers = [name for name in sides if name.startswith("trl")]
    result["ratios"] = {
        f"{peer} / {name}": spread([block[peer]["seconds"] / block[name]["seconds"] for block in timed])
        for peer in peers
        for name in sides
        if name not in peers
    }
    return result


def flops(step: Mapping[str, Any], shape: Shape, body: int, head: int) -> float:
    """Floating-point operations that drawing a step's answers and learning from all of them take at least.

    2 a weight and token forward, 6 forward and backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), with every
    prompt read once for all its answers, the head applied to answer tokens alone, and attention's products left out.
    """
    prompts = sum(step["prompt_tokens"]) * (shape.prompts / len(step["prompt_tokens"]))
    answers = sum(step["lengths"])
    return (2 + 6) * (body * (prompts + answers) + head * answers)


def by_phase(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds of each phase; other: what is left of a step."""
    named: dict[str, list[float]] = {name: [] for name in PHASES}
    for step in steps:
        known = {name: step["phases"].get(name, 0.0) for name in PHASES if name != "other"}
        for name, value in (known | {"other": step["seconds"] - sum(known.values())}).items():
            named[name].append(value)
    return {name: median(values) for name, values in named.items()}


def curves(runs: Mapping[str, Any], name: str) -> dict[str, list[float]]:
    """By seed, the mean reward of each step, the warming one first."""
    return {
        seed: [mean(reward or 0.0 for reward in block[name]["rewards"]) for block in run["blocks"]]
        for seed, run in runs.items()
    }


def table(found: Mapping[str, Any]) -> str:
    """What a person reads after a run."""
    lines = []
    for key, entry in found["shapes"].items():
        result = entry["summary"]
        gflops = result["matmul_gflops"]
        lines.append(
            f"\n{key}: {len(entry['runs'])} seeds x {entry['settings']['steps']} steps; matrix product "
            f"{gflops['bfloat16']:.0f} GFLOP/s in bfloat16, {gflops['float32']:.0f} in float32"
        )
        lines.append(
            f"{'side':<14} {'s/step [min, max]':>22} {'cpu s':>6} {'samples/s':>9} {'tokens':>6} {'learnt':>6} "
            f"{'floor s':>7} {'x floor':>7} {'others':>6} {'GiB':>5}  phases (s)"
        )
        for name, side in result["sides"].items():
            seconds, phases = side["seconds"], side["seconds_by_phase"]
            lines.append(
                f"{name:<14} {seconds['median']:7.2f} [{seconds['min']:5.1f}, {seconds['max']:5.1f}] "
                f"{side['processor_seconds']['median']:6.1f} {side['samples_per_second']['median']:9.2f} "
                f"{side['answer_tokens']:6.1f} {side['learnt_from_share']:6.0%} "
                f"{side['floor_seconds']['median']:7.2f} {side['seconds_over_floor']['median']:7.1f} "
                f"{side['cores_others']['median']:6.2f} {side['resident_gib']:5.1f}  "
                + ", ".join(f"{phase} {value:.2f}" for phase, value in phases.items() if value >= 0.005)
            )
        for name, ratio in result["ratios"].items():
            lines.append(f"  {name}: {ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]")
        for name, side in result["sides"].items():
            ends = [f"{mean(curve[:3]):.3f} -> {mean(curve[-3:]):.3f}" for curve in side["rewards"].values()]
            lines.append(f"  reward of {name}, first and last three steps, by seed: {'; '.join(ends)}")
    lines.append(
        "others: cores that everything else kept busy during this side's steps; learnt: share of answers learnt from"
    )
    return "\n".join(lines)


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A row a shape: seconds of a step by phase on the left, mean reward by step with the seeds' range on the right."""
    entries = found["shapes"]
    figure, rows = plt.subplots(len(entries), 2, figsize=(9.5, 3.1 * len(entries)), squeeze=False)
    for (key, entry), (bars, lines) in zip(entries.items(), rows, strict=True):
        sides = entry["summary"]["sides"]
        names = list(sides)
        left = [0.0] * len(names)
        for phase, colour in PHASES.items():
            widths = [sides[name]["seconds_by_phase"][phase] for name in names]
            bars.barh(names, widths, left=left, color=colour, label=phase, height=0.6)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for place, name in enumerate(names):
            floor = sides[name]["floor_seconds"]["median"]
            bars.plot([floor, floor], [place - 0.38, place + 0.38], color="black", linewidth=1.5)
        bars.invert_yaxis()
        bars.set_xlabel("seconds a step, medians (black: arithmetic alone)")
        bars.set_title(f"{key}, {len(entry['runs'])} seeds x {entry['settings']['steps']} steps", fontsize=9)
        bars.legend(frameon=False, fontsize=7)
        for name in names:
            curve = [*zip(*sides[name]["rewards"].values(), strict=True)]
            steps = range(1, len(curve) + 1)
            (line,) = lines.plot(steps, [mean(values) for values in curve], label=name, linewidth=1.5)
            low, high = [min(values) for values in curve], [max(values) for values in curve]
            lines.fill_between(steps, low, high, color=line.get_color(), alpha=0.12)
        lines.set_xlabel("step")
        lines.set_ylabel("mean reward")
        lines.legend(frameon=False, fontsize=7)
        for axes in (bars, lines):
            axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})

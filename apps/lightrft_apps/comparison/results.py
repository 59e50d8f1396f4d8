"""What the runs of a comparison reached: every number by run, then by algorithm over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from lightrft_apps.comparison.runs import Outcome
from lightrft_apps.config.commands.compare import CompareCommand
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.recording.environment import environment
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.recording.summary import read_summary
from lightrft_core.evaluation import wilson_interval

MEANINGS = {
    "accuracy": "held-out accuracy, mean over the seeds. interval: Wilson's 95% interval with questions x seeds pooled "
    "as n independent trials; the questions are the same for every seed, so it says little about other questions than "
    "seeds. lowest, highest: of the seeds",
    "rewards": "mean reward of the sampled training answers by step, from step 1: mean over the seeds, and the lowest "
    "and highest seed; no confidence interval. As in summary.json",
    "task_rewards": "the same without the penalty for overlong answers, which only some algorithms have: what to "
    "compare algorithms by",
    "pass_rates": "share of right answers among the sampled ones, by step",
    "reward_area": "area under the curve of task_rewards, per step: their mean over all steps",
    "entropies": "mean of -log p of the sampled tokens, in nats, by step",
    "lengths": "mean length of the sampled answers, in tokens, by step",
    "seconds": "over all steps and evaluations of a run, without loading the model; runs followed one another. A step "
    "with dynamic sampling may sample several times as many answers as one without",
}

CURVES: dict[str, Callable[[Mapping[str, float]], float | None]] = {
    "rewards": lambda line: line.get("reward/mean"),
    "task_rewards": lambda line: _task_reward(line),
    "pass_rates": lambda line: line.get("group/pass_rate"),
    "entropies": lambda line: line.get("rollout/entropy_estimate"),
    "lengths": lambda line: line.get("rollout/length_mean"),
}
"""What is followed step by step, and where a line of metrics.jsonl has it."""

SCALARS = ("reward_area", "final_entropy", "final_length", "seconds")

Numbers = Sequence[float | None]


def results(command: CompareCommand, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """Everything compare.json holds."""
    runs = [_read(outcome, folder) for outcome in outcomes if not outcome.exit_code]
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    algorithms = list(dict.fromkeys(outcome.run.algorithm for outcome in outcomes))
    own = {
        "algorithm",
        "seed",
        *(name for name, flag in fields_of(CompareCommand).items() if flag.section == "comparison"),
    }
    return {
        "task": command.comparison.task,
        "algorithms": algorithms,
        "seeds": list(dict.fromkeys(outcome.run.seed for outcome in outcomes)),
        "config": {name: value for name, value in to_flat(command).items() if name not in own},
        "environment": environment(),
        "meanings": MEANINGS,
        "missing": [_missing(outcome) for outcome in failed],
        "by_algorithm": [
            _over_seeds(
                name,
                [run for run in runs if run["algorithm"] == name],
                [outcome.run.seed for outcome in failed if outcome.run.algorithm == name],
            )
            for name in algorithms
        ],
        "runs": runs,
    }


def _read(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """One complete run, from its directory."""
    run = outcome.run
    summary = read_summary(run.path / "summary.json")
    lines = read_lines(run.path / "metrics.jsonl").lines
    steps = [line for line in lines if line["step"] > 0]
    curves = {name: [_finite(pick(line)) for line in steps] for name, pick in CURVES.items()}
    questions = summary["accuracy_after"] and summary["accuracy_after"]["n"]
    return {
        "algorithm": run.algorithm,
        "seed": run.seed,
        "directory": str(run.path.relative_to(folder)),
        **{name: summary[name] for name in ("steps", "optimiser_steps", "accuracy_before", "accuracy_after")},
        "evaluations": [
            {"step": line["step"], **_pooled([(line["eval/accuracy"], questions)])}
            for line in lines
            if "eval/accuracy" in line
        ],
        **curves,
        "reward_area": _mean(curves["task_rewards"]),
        "final_entropy": _last(curves["entropies"]),
        "final_length": _last(curves["lengths"]),
        "seconds": summary["seconds"],
        "cpu_seconds": summary["cpu_seconds"],
    }


def _task_reward(line: Mapping[str, float]) -> float | None:
    return line["reward/mean"] - line.get("reward/part/overlong", 0.0) if "reward/mean" in line else None


def _missing(outcome: Outcome) -> dict[str, Any]:
    return {
        "algorithm": outcome.run.algorithm,
        "seed": outcome.run.seed,
        "exit_code": outcome.exit_code,
        "last_lines": list(outcome.last_lines),
    }


def _over_seeds(name: str, runs: Sequence[dict[str, Any]], missing_seeds: list[int]) -> dict[str, Any]:
    """One algorithm: its runs' numbers, mean, lowest and highest over the seeds there are."""
    steps = sorted({evaluation["step"] for run in runs for evaluation in run["evaluations"]})
    return {
        "algorithm": name,
        "seeds": [run["seed"] for run in runs],
        "missing_seeds": missing_seeds,
        **{moment: _accuracy([run[moment] for run in runs]) for moment in ("accuracy_before", "accuracy_after")},
        "evaluations": [
            {
                "step": step,
                **(_accuracy([found for run in runs for found in run["evaluations"] if found["step"] == step]) or {}),
            }
            for step in steps
        ],
        **{curve: _curve([run[curve] for run in runs]) for curve in CURVES},
        **{scalar: _spread([run[scalar] for run in runs]) for scalar in SCALARS},
    }


def _accuracy(found: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    known = [(estimate["value"], estimate["n"]) for estimate in found if estimate is not None]
    if not known:
        return None
    shares = [share for share, _ in known]
    return _pooled(known) | {"lowest": min(shares), "highest": max(shares)}


def _pooled(found: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """Shares of n questions each, as one share of all of them."""
    n = sum(questions for _, questions in found)
    value = sum(share * questions for share, questions in found) / n
    return {"value": value, "n": n, "interval": list(wilson_interval(value, n))}


def _curve(curves: Sequence[Numbers]) -> dict[str, list[float | None]]:
    """Step by step over the seeds: mean, lowest, highest; null where no seed has a number."""
    length = max(map(len, curves), default=0)
    columns = [[c[i] for c in curves if i < len(c) and c[i] is not None] for i in range(length)]
    statistics: dict[str, Callable[[Any], float]] = {"mean": fmean, "lowest": min, "highest": max}
    return {name: [of(column) if column else None for column in columns] for name, of in statistics.items()}


def _spread(numbers: Numbers) -> dict[str, float] | None:
    known = [number for number in numbers if number is not None]
    return {"mean": fmean(known), "lowest": min(known), "highest": max(known)} if known else None


def _mean(numbers: Numbers) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if known else None


def _last(numbers: Numbers) -> float | None:
    return next((number for number in reversed(numbers) if number is not None), None)


def _finite(number: float | None) -> float | None:
    return number if number is not None and isfinite(number) else None

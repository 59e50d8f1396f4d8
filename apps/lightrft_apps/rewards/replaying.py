"""A run's saved answers judged once more, and compared with what was said of them: `lightrft reward replay`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightrft_apps.config import ConfigError, judge_names
from lightrft_apps.config.commands.replay import JUDGING, ReplayCommand, run_config
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.trajectories import read_trajectories
from lightrft_apps.rewards.judging import build_scorer
from lightrft_core import FinishReason
from lightrft_rewards import Outcome, Sample

_EXAMPLES = 20
_PENALTIES = ("overlong", "length")
"""Parts that are no judge's."""


@dataclass
class Numbers:
    """One number of each answer, before and now: those that have both, and in how many of them it differs."""

    compared: int = 0
    differ: int = 0
    before: float = 0.0
    after: float = 0.0
    largest: float = 0.0
    only_before: int = 0
    only_after: int = 0

    def add(self, before: float | None, after: float | None, tolerance: float) -> bool:
        """Take an answer into account; whether it differs."""
        if before is None or after is None:
            self.only_before += before is not None
            self.only_after += after is not None
            return False
        differs = abs(before - after) > tolerance
        self.compared, self.differ = self.compared + 1, self.differ + differs
        self.before, self.after = self.before + before, self.after + after
        self.largest = max(self.largest, abs(before - after))
        return differs

    def report(self) -> dict[str, Any]:
        """As plain JSON; means are of those compared."""
        return {
            "compared": self.compared,
            "differ": self.differ,
            "mean_before": self.before / self.compared if self.compared else None,
            "mean_after": self.after / self.compared if self.compared else None,
            "largest_difference": self.largest,
            "only_before": self.only_before,
            "only_after": self.only_after,
        }


@dataclass
class Comparison:
    """All verdicts so far. status: what became of answers before and now; steps: answers and differing ones by step.

    truncated_coefficient: what the run multiplied rewards of answers that were cut off by. Rewards are compared where
    no such thing, and no penalty, is in the one that was kept.
    """

    tolerance: float
    truncated_coefficient: float = 1.0
    answers: int = 0
    differ: int = 0
    parts: dict[str, Numbers] = field(default_factory=dict[str, Numbers])
    accuracy: Numbers = field(default_factory=Numbers)
    reward: Numbers = field(default_factory=Numbers)
    status: Counter[str] = field(default_factory=Counter[str])
    steps: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, row: Mapping[str, Any], outcome: Outcome) -> None:
        """Compare what was said of one answer with what is said now. A part that only one of the two names is counted
        as such, and makes no difference."""
        was, now = _status(row["reward"], row["timed_out"]), _status(outcome.score, outcome.timed_out)
        self.status[was if was == now else f"{was} -> {now}"] += 1
        before, after = json.loads(row["parts"]), outcome.parts
        found = [
            name
            for name in dict.fromkeys([*before, *after])
            if self.parts.setdefault(name, Numbers()).add(before.get(name), after.get(name), self.tolerance)
        ]
        if self.accuracy.add(row["accuracy"], outcome.accuracy, self.tolerance):
            found.append("accuracy")
        cut = row["finish_reason"] == FinishReason.LENGTH and self.truncated_coefficient != 1
        bare = not cut and not any(penalty in before for penalty in _PENALTIES)
        if bare and self.reward.add(row["reward"], outcome.score, self.tolerance):
            found.append("reward")
        if was != now:
            found.append("status")
        self.answers += 1
        self.differ += bool(found)
        counts = self.steps.setdefault(row["step"], [0, 0])
        counts[0] += 1
        counts[1] += bool(found)
        if found and len(self.examples) < _EXAMPLES:
            self.examples.append(_example(row, outcome, found))

    def report(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "answers": self.answers,
            "differ": self.differ,
            "differ_share": self.differ / self.answers if self.answers else None,
            "parts": {name: numbers.report() for name, numbers in self.parts.items()},
            "accuracy": self.accuracy.report(),
            "reward": self.reward.report(),
            "status": dict(self.status),
            "steps": {str(step): {"answers": n, "differ": d} for step, (n, d) in sorted(self.steps.items())},
            "examples": self.examples,
        }


def replay(command: ReplayCommand) -> dict[str, Any]:
    """Judge, compare, print, and write the report, which is returned.

    Raises ConfigError if the run kept no such answers, or if they were about media and something that sees is to judge
    them: media are not kept.
    """
    files = _files(command)
    comparison = Comparison(command.replay.tolerance, _truncated_coefficient(command))
    dtype = compute_dtype(run_config(command.replay.run).model)
    trusted = command.replay.trust_remote_code
    scorer = build_scorer(command.reward(), command.judges, dtype=dtype, trust_remote_code=trusted)
    try:
        for groups in _steps(files, command):
            judged = scorer.score([[_sample(row) for row in group] for group in groups])
            for group, outcomes in zip(groups, judged, strict=True):
                for row, outcome in zip(group, outcomes, strict=True):
                    comparison.add(row, outcome)
    finally:
        scorer.close()
    flat = to_flat(command)
    judged_by = {name: flat[name] for name in JUDGING if flat[name] is not None}
    report = {"run": command.replay.run, "judged_by": judged_by, **comparison.report()}
    output = Path(command.replay.output or Path(command.replay.run) / "replay.json").expanduser()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _show(comparison, output)
    return report


def _truncated_coefficient(command: ReplayCommand) -> float:
    """Evaluations are judged as they are."""
    if command.replay.evaluations:
        return 1.0
    return run_config(command.replay.run).shaping.stop_properly_penalty_coef


def _files(command: ReplayCommand) -> list[Path]:
    """The run's files of answers, by step."""
    kind = "eval" if command.replay.evaluations else "step"
    span = command.span()
    folder = RunDirectory(Path(command.replay.run).expanduser()).trajectories
    files = sorted(folder.glob(f"{kind}_*.parquet"))
    chosen = [file for file in files if span is None or span[0] <= int(file.stem.rpartition("_")[2]) <= span[1]]
    if not chosen:
        flag = f"--steps {command.replay.steps}" if files else f"--run {command.replay.run}"
        hint = "choose others" if files else "a run keeps them with --save_trajectories"
        raise ConfigError([f"{flag}: there are no saved answers ({folder}/{kind}_*.parquet): {hint}"])
    return chosen


def _steps(files: Sequence[Path], command: ReplayCommand) -> Iterator[list[list[dict[str, Any]]]]:
    """The rows of each step, those of the answers to one prompt together, as many in all as are wanted.

    A step is judged at once, as it was in the run: in other company a model's scores differ in their last bits.
    """
    left, seeing = command.replay.max_samples, judge_names(command.judges)
    for file in files:
        rows = read_trajectories(file)[:left]
        left = None if left is None else left - len(rows)
        groups = [list(group) for _, group in groupby(rows, key=lambda row: (row["prompt_uid"], row["occurrence"]))]
        for group in groups if seeing else []:
            if any(row["media"] for row in group):
                raise ConfigError(
                    [
                        f"{', '.join(seeing)} would have to see the media of {group[0]['prompt_uid']}, and a run keeps "
                        "their hashes alone: replay with rules or a function"
                    ]
                )
        if groups:
            yield groups


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(
        response=row["response"],
        label=json.loads(row["label"]),
        prompt=row["prompt"],
        route=row["route"],
        name=f"step {row['step']}, {row['prompt_uid']}, sample {row['sample']}",
        messages=tuple(json.loads(row["messages"])),
    )


def _status(score: float | None, timed_out: bool) -> str:
    return "scored" if score is not None else "timed out" if timed_out else "error"


def _example(row: Mapping[str, Any], outcome: Outcome, found: Sequence[str]) -> dict[str, Any]:
    """One answer whose verdicts differ, for a person to look at."""
    return {
        **{name: row[name] for name in ("step", "prompt_uid", "occurrence", "sample")},
        "differs_in": list(found),
        "before": {name: json.loads(row[name]) for name in ("parts", "notes")}
        | {name: row[name] for name in ("accuracy", "reward", "error")},
        "after": {
            "parts": dict(outcome.parts),
            "notes": dict(outcome.notes),
            "accuracy": outcome.accuracy,
            "reward": outcome.score,
            "error": outcome.error,
        },
    }


def _show(comparison: Comparison, output: Path) -> None:
    console = Console(highlight=False)
    table = Table("part", "compared", "differ", "mean before", "mean now", "only before", "only now")
    whole = {"accuracy": comparison.accuracy, "reward": comparison.reward}
    for name, numbers in (comparison.parts | whole).items():
        means = [f"{total / max(1, numbers.compared):.4g}" for total in (numbers.before, numbers.after)]
        counts = [str(count) for count in (numbers.only_before, numbers.only_after)]
        table.add_row(name, str(numbers.compared), str(numbers.differ), *means, *counts)
    console.print(table)
    for status, count in comparison.status.most_common():
        console.print(f"{status}: {count}")
    console.print(f"{comparison.differ} of {comparison.answers} verdicts differ; {output} shows some of them")

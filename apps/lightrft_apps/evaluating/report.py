"""What an evaluation writes: eval.json, and of every task its problems, answers and rejected rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.evaluating.answering import Answered
from lightrft_apps.evaluating.measures import at_k, by_subgroup, measures
from lightrft_apps.evaluating.problems import write_problems
from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_strategy.data import write_rejected
from lightrft_strategy.token_texts import Texts


def entry_of(answered: Answered, search: str | None) -> dict[str, Any]:
    """What eval.json says of one task."""
    found = measures(answered.problems, search)
    result, asked, chosen = answered.evaluation, answered.task.asked, answered.task.asked.chosen
    several = {f"{name}_at_k": at_k(found, name) for name in ("pass", "maj", "best")}
    entry: dict[str, Any] = {name: asdict(found[name]) for name in ("accuracy", "chosen", "oracle") if name in found}
    entry |= {
        name: {k: asdict(estimate) for k, estimate in estimates.items()}
        for name, estimates in several.items()
        if estimates
    }
    entry |= {
        "length_mean": result.length_mean,
        "truncated_share": result.truncated_share,
        "failed": result.failed,
        "problems": len(answered.problems),
        "answers": max(len(problem.right) for problem in answered.problems),
        "rejected_rows": len(answered.task.rejected),
        "subgroups": {
            column: {value: asdict(estimate) for value, estimate in values.items()}
            for column, values in by_subgroup(answered.problems).items()
        },
    }
    if chosen is not None:
        entry |= {
            "source": chosen.place,
            "paper": chosen.benchmark.paper,
            "rule": chosen.benchmark.rule,
            "input_template": asked.data.input_template,
            "sampling": asdict(answered.task.sampling),
        }
    return entry


def report_of(command: EvalCommand, answered: Sequence[Answered]) -> dict[str, Any]:
    """Everything eval.json holds of one model: that of --prompt_data itself, of benchmarks by their names."""
    search = command.search.search
    report: dict[str, Any] = {"pretrain": command.model.pretrain}
    if command.benchmarks.benchmark is None:
        report |= {"prompt_data": command.data.prompt_data, **entry_of(answered[0], search)}
    else:
        report |= {"benchmarks": {each.task.name: entry_of(each, search) for each in answered}}
    return report | {"flags": to_flat(command)}


def write_report(folder: Path, report: Mapping[str, Any], answered: Sequence[Answered], texts: Texts) -> None:
    """eval.json, and of each task problems.parquet, answers.parquet and rejected.jsonl, in a folder of its name if it
    has one."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in answered:
        own = folder / each.task.name
        own.mkdir(exist_ok=True)
        write_trajectories(own / "answers.parquet", 0, each.evaluation.groups, texts)
        write_problems(own / "problems.parquet", each.problems)
        write_rejected(own / "rejected.jsonl", each.task.rejected)
    write_json(folder / "eval.json", report)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file appears whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    unfinished.rename(path)

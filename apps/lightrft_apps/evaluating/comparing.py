"""Models compared on the same problems: paired tests, intervals of the difference, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import lcm
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lightrft_apps.config import ConfigError
from lightrft_apps.evaluating.measures import headline
from lightrft_apps.evaluating.problems import Problem, read_problems
from lightrft_apps.evaluating.table import aligned
from lightrft_core.paired import difference_interval, holm, mcnemar, sign_flip

Problems = Mapping[str, Sequence[Problem]]
"""By task, "" for --prompt_data, its problems."""

SHOWN = 3
"""How many problems that only one evaluation has an error names."""


@dataclass(frozen=True)
class Compared:
    """Two models on one task. difference: of second less first, what a problem counts for on average.

    interval: 95%. wins, losses, ties: of the second, by problem. test: mcnemar or sign_flip. p, p_holm: two-sided, the
    latter adjusted for all pairs of models on that task.
    """

    task: str
    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    wins: int
    losses: int
    ties: int
    test: str
    p: float
    p_holm: float


def compare(models: Mapping[str, Problems]) -> list[Compared]:
    """Every two models on every task. Raises ConfigError if they did not answer the same problems."""
    compared: list[Compared] = []
    for task in _tasks(models):
        pairs = list(combinations(models, 2))
        found = [_pair(task, (a, b), (models[a][task], models[b][task])) for a, b in pairs]
        adjusted = holm([each["p"] for each in found])
        compared += [Compared(**each, p_holm=p) for each, p in zip(found, adjusted, strict=True)]
    return compared


def _tasks(models: Mapping[str, Problems]) -> list[str]:
    (first, known), *others = models.items()
    for name, tasks in others:
        if tasks.keys() != known.keys():
            raise ConfigError([f"{first} was asked {_listed(known)}, {name} {_listed(tasks)}: ask them the same"])
    return list(known)


def _listed(tasks: Problems) -> str:
    return ", ".join(task or "--prompt_data" for task in tasks)


def _pair(task: str, names: tuple[str, str], problems: tuple[Sequence[Problem], Sequence[Problem]]) -> dict[str, Any]:
    first, second = aligned_problems(task, names, problems)
    shares = [[problem.value for problem in each] for each in (first, second)]
    exact = [[Fraction(value).limit_denominator(1 << 20) for value in each] for each in shares]
    gains = [b - a for a, b in zip(*exact, strict=True)]
    scale = lcm(*(gain.denominator for gain in gains))
    wins, losses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    single = {*shares[0], *shares[1]} <= {0.0, 1.0}
    estimates = headline(second), headline(first)
    return {
        "task": task,
        "first": names[0],
        "second": names[1],
        "difference": estimates[0].value - estimates[1].value,
        "interval": difference_interval(shares[1], shares[0], estimates),
        "wins": wins,
        "losses": losses,
        "ties": len(gains) - wins - losses,
        "test": "mcnemar" if single else "sign_flip",
        "p": mcnemar(wins, losses) if single else sign_flip([int(gain * scale) for gain in gains]),
    }


def aligned_problems(
    task: str, names: tuple[str, str], problems: tuple[Sequence[Problem], Sequence[Problem]]
) -> tuple[list[Problem], list[Problem]]:
    """The problems of both in one order. Raises ConfigError unless both have the same, with the same right answers."""
    first, second = ({problem.uid: problem for problem in each} for each in problems)
    alone = [uid for uid in [*first, *second] if (uid in first) != (uid in second)]
    other = [uid for uid in first if uid in second and first[uid].label != second[uid].label]
    if alone or other or not first:
        what = f"{len(alone)} problems have only one of their answers" if alone else f"{len(other)} have other labels"
        shown = ", ".join((alone or other)[:SHOWN])
        raise ConfigError(
            [f"{names[0]} and {names[1]} were not asked the same{f' of {task}' if task else ''}: {what} ({shown})"]
        )
    return [*first.values()], [second[uid] for uid in first]


def write_differences(path: Path, models: Mapping[str, Problems]) -> None:
    """As Parquet, of every two models a row for each problem of which one is worth more: what each answered."""
    rows = [
        {
            "task": task,
            "uid": a.uid,
            "prompt": a.prompt,
            "label": a.label,
            "first": first,
            "second": second,
            "first_value": a.value,
            "second_value": b.value,
            "first_response": a.response,
            "second_response": b.response,
        }
        for task in _tasks(models)
        for first, second in combinations(models, 2)
        for a, b in zip(
            *aligned_problems(task, (first, second), (models[first][task], models[second][task])), strict=True
        )
        if a.value != b.value
    ]
    names = ("task", "uid", "prompt", "label", "first", "second")
    numbers, texts = ("first_value", "second_value"), ("first_response", "second_response")
    schema = pa.schema([(n, pa.string()) for n in names] + [(n, pa.float64()) for n in numbers])
    schema = pa.schema([*schema, *(pa.field(name, pa.string()) for name in texts)])
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished)
    unfinished.rename(path)


def read_evaluation(folder: Path) -> Problems:
    """The problems of a finished evaluation. Raises ConfigError if they cannot be read."""
    try:
        report = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
        if "models" in report:
            raise ValueError("it is itself a comparison: name the folders of its models")
        tasks = report.get("benchmarks") or {"": report}
        return {task: read_problems(folder / task / "problems.parquet") for task in tasks}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError([f"--compare_reports {folder}: {error}"]) from error


def comparison_lines(compared: Sequence[Compared]) -> Iterator[str]:
    """A row a pair of models on each task."""
    rows = [("benchmark", "models", "difference", "95% interval", "wins", "losses", "ties", "p", "p (Holm)")]
    several = len({(each.first, each.second) for each in compared}) > 1
    for each in compared:
        low, high = each.interval
        rows.append(
            (
                each.task,
                f"{each.second} - {each.first}",
                f"{each.difference:+.1%}",
                f"{low:+.1%} to {high:+.1%}",
                str(each.wins),
                str(each.losses),
                str(each.ties),
                f"{each.p:.4f}",
                f"{each.p_holm:.4f}" if several else "",
            )
        )
    if not any(each.task for each in compared):
        rows = [("", *row[1:]) for row in rows]
    if not several:
        rows = [(*row[:-1], "") for row in rows]
    yield from aligned(rows)
    tests = {"mcnemar": "McNemar's exact test", "sign_flip": "the exact paired permutation test"}
    yield "p: by " + " and ".join(tests[test] for test in dict.fromkeys(each.test for each in compared))

"""A reward model on several ranks: the numbers and the weights of one process, however it is held."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from ...strategy.training.processes import Processes
from .contest_runs import Case, Run, train

pytestmark = pytest.mark.usefixtures("one_thread")

REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "reward_model_ranks.json"
BOUNDS = {"float64": {"metrics": 1e-9, "weights": 1e-9}, "float32": {"metrics": 1e-4, "weights": 1e-3}}
VARIANTS = [
    {},
    {"pooling": "mean", "loss": "davidson"},
    {"pooling": "attention", "loss": "plackett_luce"},
    {"loss": "uncertainty"},
]

Groups = Callable[[int], Processes]


@cache
def alone(case: Case) -> Run:
    return train(replace(case, hold="one"))


def differences(found: Run, expected: Run) -> dict[str, float]:
    """Of any metric, beside its size and 1, and of any weight, beside the largest of its tensor."""
    assert len(found.lines) == len(expected.lines)
    metrics = 0.0
    for mine, theirs in zip(found.lines, expected.lines, strict=True):
        assert mine.keys() == theirs.keys()
        metrics = max(metrics, *(abs(mine[name] - theirs[name]) / (1 + abs(theirs[name])) for name in theirs))
    assert found.weights.keys() == expected.weights.keys()
    pairs = [(found.weights[name], tensor) for name, tensor in expected.weights.items()]
    weights = max(float((mine - theirs).abs().max() / theirs.abs().max()) for mine, theirs in pairs)
    return {"metrics": metrics, "weights": weights}


def same_run(runs: Sequence[Run], case: Case) -> dict[str, float]:
    """The largest differences of any rank from the run of one process, once they are within bounds."""
    expected = alone(case)
    assert {"rm/helpful/accuracy", "eval/harmless/accuracy", "rm/loss"} <= {n for line in expected.lines for n in line}
    assert sum(run.empty for run in runs) > 0, "some ranks have no micro-batch where others have one"
    found = [differences(run, expected) for run in runs]
    worst = {name: max(each[name] for each in found) for name in found[0]}
    assert {name: value for name, value in worst.items() if value > BOUNDS[case.dtype][name]} == {}
    return worst


def test_two_ranks_make_the_run_of_one_process(processes: Groups) -> None:
    case = Case("ddp")
    same_run(processes(2).run(train, case, seconds=60), case)


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(variant.values()) or "plain")
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2", "zero 1", "zero 2", "zero 3"])
def test_any_ranks_make_the_run_of_one_process(
    processes: Groups, hold: str, world: int, variant: dict[str, str]
) -> None:
    """Each writes its row of docs/benchmarks/reward_model_ranks.json once it holds."""
    zero = hold.startswith("zero")
    if zero:
        pytest.importorskip("deepspeed")
    case = Case(hold, "float32" if zero else "float64", **variant)
    runs = processes(world).run(train, case, seconds=500)
    worst = same_run(runs, case)
    write_row({"ranks": world, **asdict(case), "empty_micro_batches": [run.empty for run in runs]} | worst)


@pytest.mark.proof
def test_ranks_with_slices_of_layers_make_the_run_of_one_process(processes: Groups) -> None:
    case = Case("slices")
    same_run(processes(4).run(train, case), case)


def write_row(row: dict[str, object]) -> None:
    known = json.loads(REPORT.read_text())["runs"] if REPORT.exists() else []
    key = ("hold", "ranks", "pooling", "loss")
    rows = [other for other in known if any(other[name] != row[name] for name in key)] + [row]
    content = {
        "what": "optimiser steps of up to five contests of two to four answers, some tied or without a label of one of "
        "two heads, dealt to ranks whole; metrics: the largest difference from one process of any number in the "
        "metrics, evaluations with it, beside 1 + its size; weights: of any weight after all steps, beside the largest "
        "of its tensor; empty_micro_batches: of each rank, those in which it had nothing while another had something",
        "torch": version("torch"),
        "transformers": version("transformers"),
        "deepspeed": version("deepspeed"),
        "processors": os.cpu_count(),
        "runs": sorted(rows, key=lambda each: [str(each[name]) for name in key]),
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")

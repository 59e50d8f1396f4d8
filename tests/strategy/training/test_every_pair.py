"""Every two of ranks, way of holding, family, packing, sharing and micro-batch size: the run of one process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy
import pytest

from .processes import Processes
from .recorded import FAMILIES, HOLDS, Case, Outcome, first_gradient, plain_gradient, train

pytestmark = pytest.mark.usefixtures("one_thread")

Groups = Callable[[int], Processes]
Values = tuple[Any, ...]
Arrays = dict[str, numpy.ndarray]
REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "strategies.json"
KEYS = ("ranks", "way", "family", "packing", "sharing", "micro_batch")
PROMISED = {"float64": 1e-9, "float32": 1e-4}
WAYS = [f"{hold}, {dtype}" for hold in HOLDS for dtype in PROMISED if not hold.startswith("zero") or dtype == "float32"]
"""Of holding a model, each in the precisions it computes in: DeepSpeed's is float32."""


POOL: list[Values] = [
    values
    for values in product((1, 2, 4), WAYS, FAMILIES, (False, True), (True, False), (3, 1, 16))
    if values[0] == 1 or not values[1].startswith("one, ")
]
random.Random(0).shuffle(POOL)


def pairs(rows: Iterable[Values]) -> set[Any]:
    """Which two values stand side by side, each with its place."""
    return {pair for row in rows for pair in combinations(enumerate(row), 2)}


def few(pool: list[Values]) -> list[Values]:
    """Rows with every pair that is in the pool; one after another that which has most of those still missing."""
    found, missing, told = list[Values](), pairs(pool), {row: pairs([row]) for row in pool}
    while missing:
        found.append(max(pool, key=lambda row: len(told[row] & missing)))
        missing -= told[found[-1]]
    return found


def case_of(values: Values) -> Case:
    _, way, family, packing, sharing, micro_batch = values
    hold, dtype = way.split(", ")
    return Case(hold, dtype, family=family, packing=packing, sharing=sharing, micro_batch=micro_batch)


@cache
def alone(family: str, dtype: str) -> tuple[Outcome, Arrays]:
    """The run and its first gradient in one process: padded, prompts shared, three sequences at once."""
    case = Case(dtype=dtype, family=family)
    return train(case), plain_gradient(case)


def distance(arrays: Arrays, expected: Arrays) -> tuple[float, float]:
    """Relative differences: of all tensors as one vector, and the largest of any tensor by itself."""
    assert arrays.keys() == expected.keys()
    missed = numpy.array([numpy.linalg.norm(arrays[name] - expected[name]) for name in expected])
    sizes = numpy.array([numpy.linalg.norm(tensor) for tensor in expected.values()])
    return float(numpy.linalg.norm(missed) / numpy.linalg.norm(sizes)), float((missed / (sizes + 1e-12)).max())


def apart(found: list[float], expected: list[float]) -> tuple[float, float]:
    """The largest difference of any step, relative and as it is; a step without a signal has no number in either."""
    mine, theirs = numpy.array(found), numpy.array(expected)
    assert numpy.array_equal(numpy.isnan(mine), numpy.isnan(theirs))
    difference = numpy.abs(mine - theirs)
    return float(numpy.nanmax(difference / numpy.abs(theirs))), float(numpy.nanmax(difference))


def compared(processes: Groups, values: Values) -> dict[str, Any]:
    """A run's row of the report: how far it is from the one in one process. All ranks have the same bits."""
    case, group = case_of(values), processes(values[0])
    outcome, *others = group.run(train, case, seconds=1200)
    gradient, *_ = group.run(first_gradient, case)
    reference, expected = alone(case.family, case.dtype)
    for other in others:
        assert numpy.array_equal(other.losses, outcome.losses, equal_nan=True)
        assert all(numpy.array_equal(other.weights[name], weight) for name, weight in outcome.weights.items())
    loss, difference = apart(outcome.losses, reference.losses)
    norm, _ = apart(outcome.norms, reference.norms)
    far = {"gradient": distance(gradient, expected), "weights": distance(outcome.weights, reference.weights)}
    if case.dtype == "float32":
        for name, weight in reference.weights.items():
            numpy.testing.assert_allclose(outcome.weights[name], weight, rtol=2e-3, atol=2e-4, err_msg=name)
    return dict(zip(KEYS, values, strict=True)) | {
        "steps": len(outcome.losses),
        "relative_difference": {"loss": loss, "norm": norm} | {name: whole for name, (whole, _) in far.items()},
        "relative_difference_of_any_tensor": {name: worst for name, (_, worst) in far.items()},
        "difference_of_loss": difference,
    }


def held_to(row: dict[str, Any]) -> bool:
    """Whether a run is as near as is promised: in float64 by every measure, relative to its size.

    In float32 a loss may be near zero, where rounding has no proportion, and so may a bias: its tensors count together.
    """
    dtype = row["way"].split(", ")[1]
    exact = dtype == "float64"
    whole = [value for name, value in row["relative_difference"].items() if exact or name != "loss"]
    single = row["relative_difference_of_any_tensor"].values() if exact else []
    return all(value <= PROMISED[dtype] for value in [*whole, *single, row["difference_of_loss"]])


def test_the_report_holds_every_pair_and_all_of_it_as_near_as_is_promised() -> None:
    runs = json.loads(REPORT.read_text())["runs"]
    assert pairs(tuple(run[key] for key in KEYS) for run in runs) == pairs(POOL)
    assert [run for run in runs if run["steps"] != 20 or not held_to(run)] == []


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_pair_makes_the_run_of_one_process(processes: Groups) -> None:
    """Writes docs/benchmarks/strategies.json, which is not written unless all of it holds."""
    rows = [compared(processes, values) for values in few(POOL)]
    assert [row for row in rows if not held_to(row)] == []
    content = {
        "what": "runs on recorded rollouts, held in each way, compared with the run of one process, whose rows are "
        "padded, whose prompts are shared and whose micro-batches have three sequences. Every two values of ranks, "
        "way, family, packing, sharing and micro-batch size are together in some run, but one process is one rank. The "
        "largest relative difference of any step's loss and gradient norm; of the whole gradient of the first step "
        "and of all weights at the end, as one vector; of any tensor of these by itself; and the largest difference of "
        "any step's loss",
        **{name: version(name) for name in ("torch", "transformers", "deepspeed")},
        "runs": rows,
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")

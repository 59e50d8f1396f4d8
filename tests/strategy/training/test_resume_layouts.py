"""A run killed after a checkpoint goes on in any layout: in the same one with the same bits, in others to rounding."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import pytest

from .layout_runs import NUMBERS, SINGLE, Curve, Layout, curve, killed
from .processes import Processes
from .recorded import Case

REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "resume_layouts.json"
STOP = 2
"""After so many batches of rollouts the checkpoint is written: eight of twenty optimiser steps."""

SAME = [SINGLE, *(Layout(hold, 2) for hold in ("ddp", "fsdp2", "zero 1", "zero 2", "zero 3"))]
OTHER = [
    (Layout("ddp", 2), Layout("ddp", 4)),
    (Layout("ddp", 4), Layout("ddp", 2)),
    (Layout("fsdp2", 2), Layout("fsdp2", 4)),
    (Layout("fsdp2", 4), Layout("fsdp2", 2)),
    (Layout("fsdp2", 2), SINGLE),
    (SINGLE, Layout("fsdp2", 2)),
    (Layout("ddp", 2), Layout("fsdp2", 2)),
]
WITH_ZERO = [
    (Layout("zero 1", 2), Layout("zero 3", 4)),
    (Layout("zero 3", 2), SINGLE),
    (SINGLE, Layout("zero 2", 2)),
    (Layout("zero 2", 2), Layout("fsdp2", 2)),
    (Layout("fsdp2", 2), Layout("zero 1", 2)),
]

Run = Callable[..., list[Curve]]
Groups = Callable[[int], Processes]


@pytest.fixture
def goes_on(processes: Groups, tmp_path: Path) -> Run:
    """goes_on(layout, another, dtype) -> what each rank of the other makes of a run killed in the first."""
    numbers = count()

    def run(before: Layout, after: Layout, dtype: str) -> list[Curve]:
        checkpoints = tmp_path / str(next(numbers))
        with pytest.raises((EOFError, ConnectionError)):
            processes(before.world).run(killed, Case(before.hold, dtype), STOP, checkpoints)
        rest = range(STOP, NUMBERS)
        curves: list[Curve] = processes(after.world).run(curve, Case(after.hold, dtype), rest, checkpoints)
        return curves

    return run


def straight(processes: Groups, layout: Layout, dtype: str) -> Curve:
    """The run that nobody killed."""
    whole: Curve = processes(layout.world).run(curve, Case(layout.hold, dtype), range(NUMBERS))[0]
    return whole


def differences(found: Curve, expected: Curve) -> dict[str, float]:
    """The largest relative difference of any step's loss and norm, and of any master's and moment's norm."""
    taken = len(found.losses)
    pairs = {
        "loss": (found.losses, expected.losses[-taken:]),
        "norm": (found.norms, expected.norms[-taken:]),
    }
    result = {}
    for name, (mine, theirs) in pairs.items():
        assert taken == 4 * (NUMBERS - STOP)
        numpy.testing.assert_array_equal(numpy.isnan(mine), numpy.isnan(theirs))
        result[name] = float(numpy.nanmax(numpy.abs(numpy.subtract(mine, theirs)) / numpy.abs(theirs)))
    assert found.state.keys() == expected.state.keys()
    for kind in ("master.", "adam.exp_avg.", "adam.exp_avg_sq."):
        names = [name for name in found.state if name.startswith(kind)]
        assert names
        result[kind.rstrip(".")] = max(
            float(numpy.linalg.norm(found.state[name] - expected.state[name]) / numpy.linalg.norm(expected.state[name]))
            for name in names
        )
    steps = [name for name in found.state if name.startswith("adam.step.")]
    assert all(found.state[name] == expected.state[name] > 10 for name in steps)
    return result


def identical(found: Curve, expected: Curve) -> bool:
    """Whether all numbers are the same, bit for bit."""
    taken = len(found.losses)
    curves = ((found.losses, expected.losses[-taken:]), (found.norms, expected.norms[-taken:]))
    return all(numpy.array_equal(mine, theirs, equal_nan=True) for mine, theirs in curves) and (
        found.state.keys() == expected.state.keys()
        and all(numpy.array_equal(found.state[name], expected.state[name]) for name in expected.state)
    )


def test_a_run_killed_in_two_shards_goes_on_in_one_process_as_if_it_had_begun_there(
    processes: Groups, goes_on: Run
) -> None:
    (found,) = goes_on(Layout("fsdp2", 2), SINGLE, "float64")
    assert max(differences(found, straight(processes, SINGLE, "float64")).values()) < 1e-9


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_killed_runs_go_on_in_every_layout(processes: Groups, goes_on: Run) -> None:
    """Writes docs/benchmarks/resume_layouts.json, which is not written unless all of it holds."""
    pytest.importorskip("deepspeed")
    same, other = [], []
    for layout in SAME:
        for dtype in ("float32",) if layout.hold.startswith("zero") else ("float32", "float64"):
            expected = straight(processes, layout, dtype)
            for found in goes_on(layout, layout, dtype):
                assert identical(found, expected), (str(layout), dtype)
            same.append({"layout": str(layout), "dtype": dtype, "identical": True})
    for pairs, dtype in ((OTHER, "float64"), (WITH_ZERO, "float32")):
        expected = straight(processes, SINGLE, dtype)
        for before, after in pairs:
            rows = [differences(found, expected) for found in goes_on(before, after, dtype)]
            worst = {name: max(row[name] for row in rows) for name in rows[0]}
            bounds = dict.fromkeys(worst, 1e-9) if dtype == "float64" else LOOSE
            assert {name for name in worst if worst[name] > bounds[name]} == set(), (str(before), str(after), worst)
            other.append({"from": str(before), "to": str(after), "dtype": dtype, "relative_difference": worst})
    write_report(same, other)


LOOSE = {"loss": 1e-4, "norm": 1e-4, "master": 1e-5, "adam.exp_avg": 1e-4, "adam.exp_avg_sq": 1e-4}
"""In float32, what DeepSpeed's masters are in."""


def write_report(same: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    content = {
        "what": "runs on recorded rollouts, every rank killed by SIGKILL in the step after a checkpoint (8 of 20 "
        "optimiser steps), that go on from it: in the same layout compared bit for bit with a run never killed there; "
        "in another layout with one never killed in one process: the largest relative difference of any step's loss "
        "and gradient norm, and of any tensor's weights and moments at the end",
        "torch": version("torch"),
        "deepspeed": version("deepspeed"),
        "same_layout": same,
        "other_layout": other,
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")

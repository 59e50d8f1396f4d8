"""Texts, pictures, films and sounds in random order through one model on several ranks: the run of one process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy
import pytest

from lightrft_multimodal.tiny import build_qwen2_5_omni

from ...strategy.training.processes import Processes
from .conftest import SIZES
from .mixed_runs import Case, Run, train

pytestmark = pytest.mark.usefixtures("one_thread")

REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "multimodal_ranks.json"
EXACT = {"loss": 1e-9, "norm": 1e-9, "master": 1e-9, "adam.exp_avg": 1e-9, "adam.exp_avg_sq": 1e-9}
SINGLE_PRECISION = {"loss": 1e-4, "norm": 1e-3, "master": 1e-3, "adam.exp_avg": 1e-2, "adam.exp_avg_sq": 1e-2}
VARIANTS = {
    "padded": {},
    "packed": {"packing": True},
    "frozen vision tower": {"packing": True, "frozen": ("visual.",), "optimiser_steps": 20},
    "checkpointing": {"packing": True, "checkpointing": True, "optimiser_steps": 20},
}

Groups = Callable[[int], Processes]


@cache
def alone(case: Case) -> Run:
    return train(replace(case, hold="one", every_tower=False))


def differences(found: Run, expected: Run) -> dict[str, float]:
    """Of losses beside the largest, of norms each beside its own, of weights and moments tensor by tensor.

    A tensor's is beside its norm and a thousandth of that of all of them: some gradients are nothing but rounding.
    """
    told = {}
    for name, mine, theirs in (("loss", found.losses, expected.losses), ("norm", found.norms, expected.norms)):
        numpy.testing.assert_array_equal(numpy.isnan(mine), numpy.isnan(theirs))
        size = numpy.nanmax(numpy.abs(theirs)) if name == "loss" else numpy.abs(theirs)
        told[name] = float(numpy.nanmax(numpy.abs(numpy.subtract(mine, theirs)) / size))
    for kind in ("master", "adam.exp_avg", "adam.exp_avg_sq"):
        pairs = ((found.first, expected.first), (found.last, expected.last))
        told[kind] = max(_difference(mine, theirs, f"{kind}.") for mine, theirs in pairs)
    return told


def _difference(found: dict[str, numpy.ndarray], expected: dict[str, numpy.ndarray], kind: str) -> float:
    assert found.keys() == expected.keys()
    sizes = {name: float(numpy.linalg.norm(expected[name])) for name in expected if name.startswith(kind)}
    least = 1e-3 * float(numpy.linalg.norm([*sizes.values()]))
    return max(float(numpy.linalg.norm(found[name] - expected[name])) / (size + least) for name, size in sizes.items())


def same_run(runs: Sequence[Run], case: Case, bounds: dict[str, float]) -> dict[str, float]:
    """The largest differences of any rank from the run of one process, once all are within bounds."""
    expected = alone(case)
    assert numpy.isfinite(expected.losses).sum() >= 0.8 * case.optimiser_steps, "the rollouts teach something"
    assert sum(run.empty for run in runs) > 0, "some ranks have no micro-batch where others have one"
    rows = [differences(run, expected) for run in runs]
    worst = {name: max(row[name] for row in rows) for name in bounds}
    assert {name: value for name, value in worst.items() if value > bounds[name]} == {}
    return worst


def test_two_ranks_that_hold_shards_make_the_run_of_one_process_whoever_sees_or_hears(
    processes: Groups, thinker: Path
) -> None:
    case = Case(str(thinker), "fsdp2", packing=True, optimiser_steps=4)
    runs = processes(2).run(train, case)
    assert any(run.without_media for run in runs) and any(run.without_media < run.micro_batches for run in runs)
    same_run(runs, case, EXACT)


@pytest.mark.proof
def test_ranks_with_slices_of_layers_and_whole_towers_make_the_run_of_one_process(
    processes: Groups, tmp_path: Path
) -> None:
    folder = build_qwen2_5_omni(tmp_path, replace(SIZES, num_key_value_heads=2))
    case = Case(str(folder), "slices", packing=True, optimiser_steps=8)
    same_run(processes(4).run(train, case), case, EXACT)


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2", "zero 2", "zero 3"])
def test_fifty_steps_on_any_ranks_are_those_of_one_process(
    processes: Groups, thinker: Path, hold: str, world: int, variant: str
) -> None:
    """Each writes its row of docs/benchmarks/multimodal_ranks.json once it holds."""
    zero = hold.startswith("zero")
    if zero:
        pytest.importorskip("deepspeed")
    case = Case(str(thinker), hold, "float32" if zero else "float64", **VARIANTS[variant])
    runs = processes(world).run(train, case, seconds=1000)
    worst = same_run(runs, case, SINGLE_PRECISION if zero else EXACT)
    write_row(
        {
            "hold": hold,
            "ranks": world,
            "rows": variant,
            "dtype": case.dtype,
            "optimiser_steps": case.optimiser_steps,
            "micro_batches_of_each_rank": [run.micro_batches for run in runs],
            "without_media": [run.without_media for run in runs],
            "without_a_sequence": [run.empty for run in runs],
            "relative_difference": worst,
        }
    )


@pytest.mark.proof
@pytest.mark.parametrize("packing", [False, True])
def test_ranks_in_shards_that_run_only_the_towers_they_need_die_hang_or_learn_something_else(
    processes: Groups, thinker: Path, packing: bool
) -> None:
    case = Case(str(thinker), "fsdp2", packing=packing, every_tower=False, optimiser_steps=3)
    with pytest.raises((AssertionError, EOFError, ConnectionError)):
        same_run(processes(2).run(train, case, seconds=40), case, EXACT)


def write_row(row: dict[str, object]) -> None:
    known = json.loads(REPORT.read_text())["runs"] if REPORT.exists() else []
    key = ("hold", "ranks", "rows")
    rows = [other for other in known if any(other[name] != row[name] for name in key)] + [row]
    content = {
        "what": "optimiser steps of up to five rollouts to prompts of text, one image, three images, a video or a "
        "sound in random order through one tiny Qwen2.5-Omni thinker, dealt to the ranks as training deals them; the "
        "largest relative difference from one process, of any loss (beside the largest loss), gradient norm, weight "
        "and moment after the first step and after all; without_media, without_a_sequence: of each rank's "
        "micro-batches",
        "torch": version("torch"),
        "transformers": version("transformers"),
        "deepspeed": version("deepspeed"),
        "processors": os.cpu_count(),
        "runs": sorted(rows, key=lambda each: [str(each[name]) for name in key]),
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")

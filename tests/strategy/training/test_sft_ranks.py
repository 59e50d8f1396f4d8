"""Supervised fine-tuning on several ranks: the numbers and weights of one process, however the model is held."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from .processes import Processes
from .sft_runs import tuned


@pytest.mark.parametrize(
    ("kind", "packing", "per_learner", "world_size"),
    [
        ("whole", True, 1, 2),
        pytest.param("fsdp", True, 1, 2, marks=pytest.mark.proof),
        pytest.param("fsdp", False, 1, 4, marks=pytest.mark.proof),
        pytest.param("zero2", True, 1, 2, marks=pytest.mark.proof),
        pytest.param("zero3", False, 1, 2, marks=pytest.mark.proof),
        pytest.param("whole", True, 2, 2, marks=pytest.mark.proof),
        pytest.param("fsdp", True, 2, 4, marks=pytest.mark.proof),
    ],
)
def test_several_ranks_learn_as_one_process_does(
    processes: Callable[[int], Processes], kind: str, packing: bool, per_learner: int, world_size: int
) -> None:
    if kind.startswith("zero"):
        pytest.importorskip("deepspeed")
    expected, weights = tuned(packing=packing)
    for lines, found in processes(world_size).run(tuned, kind, packing, per_learner):
        assert len(lines) == len(expected) == 4
        for line, one in zip(lines, expected, strict=True):
            assert line == pytest.approx(one, rel=2e-4, abs=1e-5)
        assert found.keys() == weights.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=2e-4)

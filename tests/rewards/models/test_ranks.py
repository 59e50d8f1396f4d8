"""A reward model on several ranks: the numbers and weights of one process, however the model is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from ...strategy.training.processes import Processes
from .rank_runs import taught_on_ranks

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Processes]]:
    """processes(world_size) -> the one group of that many processes."""
    groups: dict[int, Processes] = {}

    def of(world_size: int) -> Processes:
        if world_size not in groups:
            groups[world_size] = Processes(world_size, tmp_path_factory.mktemp("store"))
        return groups[world_size]

    yield of
    for group in groups.values():
        group.close()


@pytest.mark.parametrize(
    ("kind", "world_size", "loss", "pooling"),
    [
        ("whole", 2, "bradley_terry", "last"),
        ("whole", 4, "plackett_luce", "mean"),
        ("fsdp", 2, "uncertainty", "attention"),
        ("fsdp", 4, "davidson", "last"),
        ("zero2", 2, "hps", "mean"),
        ("zero3", 2, "bradley_terry", "attention"),
    ],
)
def test_several_ranks_learn_as_one_process_does(
    processes: Callable[[int], Processes], kind: str, world_size: int, loss: str, pooling: str
) -> None:
    if kind.startswith("zero"):
        pytest.importorskip("deepspeed")
    expected, weights = taught_on_ranks("whole", loss, pooling)
    for lines, found in processes(world_size).run(taught_on_ranks, kind, loss, pooling):
        assert len(lines) == len(expected) == 4
        for line, one in zip(lines, expected, strict=True):
            assert line.keys() == one.keys()
            assert line == pytest.approx(one, rel=1e-3, abs=1e-4)
        for name in (name for name in one if name.endswith("accuracy")):
            assert [line[name] for line in lines if name in line] == [line[name] for line in expected if name in line]
        assert found.keys() == weights.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(found[name], weight, rtol=2e-3, atol=5e-4)

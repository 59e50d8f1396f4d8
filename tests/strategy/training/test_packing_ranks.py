"""A packed row over weights in shards: every rank's batch has the gradient of its sequences alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from .packing_runs import equal_gradients
from .processes import Processes


@pytest.mark.parametrize("kind", ["fsdp2", pytest.param("zero3", marks=pytest.mark.proof)])
def test_two_ranks_with_sharded_weights_have_the_gradient_of_each_sequence_alone(kind: str, tmp_path: Path) -> None:
    if kind == "zero3":
        pytest.importorskip("deepspeed")
    ranks = Processes(2, tmp_path)
    found = ranks.run(equal_gradients, kind)
    ranks.close()
    assert len(found[0]) == 20
    assert found[0] == found[1]

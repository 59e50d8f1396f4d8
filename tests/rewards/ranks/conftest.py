"""Processes for the tests of reward models on several ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ...strategy.training.processes import Processes


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

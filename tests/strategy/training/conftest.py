"""What the tests of training on several ranks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .processes import Processes


@pytest.fixture(scope="session")
def processes(tmp_path_factory) -> Iterator[Callable[[int], Processes]]:
    """processes(world_size) -> the one group of that many processes."""
    groups: dict[int, Processes] = {}

    def of(world_size: int) -> Processes:
        if world_size not in groups:
            groups[world_size] = Processes(world_size, tmp_path_factory.mktemp("store"))
        return groups[world_size]

    yield of
    for group in groups.values():
        group.close()

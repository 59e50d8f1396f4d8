"""Processes and a tiny model that sees, watches and hears, for the tests of media on several ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni

from ...strategy.training.processes import Processes

SIZES = Sizes(
    hidden_size=32,
    intermediate_size=40,
    num_attention_heads=2,
    num_key_value_heads=1,
    tower_size=16,
    initializer_range=0.2,
    max_pixels=24 * 24,
    max_seconds=2,
)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Qwen2.5-Omni thinker."""
    return build_qwen2_5_omni(tmp_path_factory.mktemp("thinker"), SIZES)

"""The policy with the moving average of its weights, as a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightrft_apps.parallel import by_the_first
from lightrft_strategy.checkpoints import write_folder
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.replica import Replica


def export_average(
    strategy: TorchStrategy, replica: Replica | None, folder: Path, export: Callable[[Path], None]
) -> None:
    """Let `export`, which writes the policy, write it with its averaged weights; every rank calls it."""
    with strategy.averages["policy"].in_place():
        if replica is not None:
            replica.refresh()
        by_the_first(strategy, lambda: write_folder(folder, export))
    if replica is not None:
        replica.refresh()

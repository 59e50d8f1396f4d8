"""A trained model with the moving average of its weights, as a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightrft_apps.models.parallel import by_the_first
from lightrft_strategy.checkpoints import write_folder
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.replica import Replica


def export_average(
    strategy: TorchStrategy,
    replica: Replica[Any] | None,
    folder: Path,
    export: Callable[[Path], None],
    model: str = "policy",
) -> None:
    """Let `export`, which writes the model of that name, write it with its averaged weights; every rank calls it."""
    with strategy.averages[model].in_place():
        if replica is not None:
            replica.refresh()
        by_the_first(strategy, lambda: write_folder(folder, export))
    if replica is not None:
        replica.refresh()

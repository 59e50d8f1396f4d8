"""Work that all ranks do, of which a fault on one is known to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lightrft_core import Ranks

R = TypeVar("R")


def together(ranks: Ranks | None, action: Callable[[], R]) -> R:
    """Do something on every rank, and return this rank's result once all have done it. Every rank calls it.

    ranks: None: this process alone. If the action raises anywhere it raises everywhere: on that rank what it raised, on
    the others a ValueError that names the rank and says the same. So no rank goes on to wait for one that has left.
    """
    if ranks is None:
        return action()
    results: list[R] = []
    error: Exception | None = None
    try:
        results.append(action())
    except Exception as raised:  # noqa: BLE001
        error = raised
    faults = ranks.gather(["" if error is None else str(error) or type(error).__name__])
    if error is not None:
        raise error
    for rank, fault in enumerate(faults):
        if fault:
            raise ValueError(f"rank {rank}: {fault}")
    return results[0]


def on_first(ranks: Ranks | None, action: Callable[[], None]) -> None:
    """Do something on rank 0 alone, while the others wait for it. Every rank calls it, and it raises as `together`."""
    together(ranks, action if ranks is None or ranks.rank == 0 else _nothing)


def _nothing() -> None:
    pass

"""How work is dealt to the processes of a run, and the run of one process."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_core.metrics import Metrics
from lightrft_core.protocols import Ranks, T


def share(items: Sequence[T], ranks: Ranks) -> Sequence[T]:
    """This rank's part of what all ranks hold: `ranks.gather` of the parts is the whole, in its order."""
    start, end = (len(items) * rank // ranks.world_size for rank in (ranks.rank, ranks.rank + 1))
    return items[start:end]


class OneRank:
    """A run of one process."""

    rank = learner = 0
    world_size = learners = 1

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items as they are."""
        return list(items)

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        """The metrics as they are."""
        return metrics.result()

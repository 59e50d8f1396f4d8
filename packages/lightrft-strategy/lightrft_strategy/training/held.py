"""What a strategy asks of one model, however it lives on the ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from lightrft_core import Ranks
from lightrft_core.protocols import T
from lightrft_strategy.training.optimiser import OptimiserConfig


class Held(Protocol):
    """One model on the ranks of a run. Every rank calls everything; what follows `gathered` is for trained models."""

    module: nn.Module
    """Maps a Batch to its output. Calling it may be collective."""
    dtype: torch.dtype | None
    """What the module computes in; None: as its weights are."""
    scale: float
    """What losses are multiplied by before their gradients are taken, which `step` divides by it. Set between steps."""

    def gathered(self, function: Callable[[], T]) -> T:
        """What function() gives, which may call any part of the module; alone, a part may lack its weights.

        The ranks call the same parts equally often.
        """
        ...

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradient to what this rank has gathered so far."""
        ...

    def step(self, learning_rate: float) -> tuple[float, str]:
        """One AdamW step by the gradients added up over all ranks, which are then forgotten.

        Returns their global L2 norm before clipping, and why nothing was done ("" if it was).
        """
        ...

    def clear(self) -> None:
        """Forget all gradients."""
        ...

    def movable(self) -> tuple[list[Tensor], list[Tensor]]:
        """Plain tensors that may lie elsewhere between phases: those that `step` alone reads, and all the others."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint keeps, by names that are the same for every kind of holding.

        master.NAME: a weight in float32, NAME as in the plain module; adam.step.NAME, adam.exp_avg.NAME and
        adam.exp_avg_sq.NAME: what AdamW remembers. A DTensor where ranks hold shards, a plain tensor where it is whole.
        """
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave once; laid out as `state` gives it now, or those very tensors, filled."""
        ...

    def shards(self) -> list[Tensor]:
        """What this rank holds of the master weights, to be read and written: `publish` makes it known."""
        ...

    def named(self, shards: Sequence[Tensor]) -> dict[str, Tensor]:
        """Tensors like those of `shards` by the weights' own names, laid out as `state` lays out masters."""
        ...

    def fill(self, shards: Sequence[Tensor], named: Mapping[str, Tensor]) -> None:
        """Write what `named` gave once into tensors like those of `shards`."""
        ...

    def publish(self) -> None:
        """Let the module compute with the masters as they now stand."""
        ...


class Hold(Protocol):
    """Takes a module, in float32 or float64, onto the ranks. Frozen if there is no optimiser configuration.

    dtype: what it is computed in; None: as it is. Raises ValueError for what this kind of holding cannot do.
    """

    def __call__(
        self, module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks
    ) -> Held: ...

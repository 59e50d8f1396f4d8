"""An exponential moving average of a trained model's weights, held as the model itself is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightrft_strategy.training.held import Held

EMA = "ema."
"""What stands before a weight's own name in a checkpoint."""


class Average:
    """beta * average + (1 - beta) * masters after each optimiser step, in their precision.

    It begins with the weights as they are when it is first asked for anything, so that a model whose weights are filled
    after it is held is filled before that.
    (Polyak and Juditsky 1992; with exponential weights as in Tarvainen and Valpola 2017, arXiv 1703.01780, eq. 2.)
    Every rank keeps the average of what it holds of the masters and no more, so that an update needs no exchange.
    """

    def __init__(self, held: Held, beta: float) -> None:
        self.held, self.beta = held, beta
        self._shards: list[Tensor] = []

    def begin(self) -> None:
        """Before a step: where there is no average yet, it is the weights as they now stand."""
        if not self._shards:
            self._shards = [shard.clone() for shard in self.held.shards()]

    @property
    def shards(self) -> list[Tensor]:
        """The average of what this rank holds of the masters."""
        self.begin()
        return self._shards

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights in as they now stand."""
        get_ema_multi_avg_fn(self.beta)(self.shards, self.held.shards(), None)  # type: ignore[no-untyped-call]

    def state(self) -> dict[str, Tensor]:
        """ema.NAME: an averaged weight, laid out as Held.state lays out the weight itself."""
        return {EMA + name: tensor for name, tensor in self.held.named(self.shards).items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave once."""
        self.held.fill(self.shards, {name.removeprefix(EMA): state[name] for name in state if name.startswith(EMA)})

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model has the averaged weights; every rank enters it. Afterwards it has its own again."""
        exchange(self.held.shards(), self.shards)
        try:
            self.held.publish()
            yield
        finally:
            exchange(self.held.shards(), self.shards)
            self.held.publish()


@torch.no_grad()
def exchange(ones: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Let the first tensors have the numbers of the second and these theirs, one pair after another."""
    for one, other in zip(ones, others, strict=True):
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)

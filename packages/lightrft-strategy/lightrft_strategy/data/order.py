"""The order of a run: which row of which source stands at a position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightrft_strategy.data.mixture import mixture_weights, permutation, source_of_position, turn_within_source


class Place(NamedTuple):
    """Row number `row`, from 0, of a source, which has been read through `episode` times before."""

    source: int
    row: int
    episode: int


class RowOrder:
    """An endless sequence of rows, a pure function of the seed: the same whatever is asked for, and in which order.

    Without probs all sources are one, and each episode reads every row once, in an order of its own. With probs each
    position first draws its source; every source is read through, in a new order each time, before a row of it
    comes again.

    lengths: rows of each source; probs: a share for each source, of any sum; drawn_at_once: positions whose sources are
    drawn together, for speed alone. Raises PromptDataError for probs that do not fit the sources.
    """

    def __init__(self, lengths: Sequence[int], probs: Sequence[float] | None, seed: int, drawn_at_once: int) -> None:
        self._starts = np.cumsum([0, *lengths])
        self._lengths = [sum(lengths)] if probs is None else list(lengths)
        self._seed = seed
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._weights = None if probs is None else mixture_weights(probs, len(lengths))
        nothing = np.zeros(0, dtype=np.int64)
        self._drawn = (nothing, nothing) if self._weights is None else _draw(self._weights, drawn_at_once, seed)

    def place(self, position: int) -> Place:
        """What stands at a position, 0 being the first."""
        if self._weights is None:
            episode, turn = divmod(position, self._lengths[0])
            number = int(self._order(0, episode)[turn])
            source = int(np.searchsorted(self._starts, number, side="right")) - 1
            return Place(source, number - int(self._starts[source]), episode)
        if position >= len(self._drawn[0]):
            self._drawn = _draw(self._weights, 2 * (position + 1), self._seed)
        source, turn = int(self._drawn[0][position]), int(self._drawn[1][position])
        episode, turn = divmod(turn, self._lengths[source])
        return Place(source, int(self._order(source, episode)[turn]), episode)

    def _order(self, source: int, episode: int) -> NDArray[np.int64]:
        """[rows] a source's order in an episode; the latest is kept, since the next position mostly asks for it."""
        cached = self._orders.get(source)
        if cached is None or cached[0] != episode:
            cached = episode, permutation(self._lengths[source], self._seed, source, episode)
            self._orders[source] = cached
        return cached[1]


def _draw(weights: NDArray[np.float64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([count] source, [count] turn within that source) of each position."""
    sources = source_of_position(weights, count, seed)
    return sources, turn_within_source(sources, len(weights))

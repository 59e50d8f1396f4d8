"""The order of a run: which prompts each step reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightrft_core.types import Prompt
from lightrft_strategy.data.mixture import mixture_weights, permutation, source_of_position, turn_within_source
from lightrft_strategy.data.rejected import PromptDataError


class PromptStream:
    """Prompts by step: a pure function of the step, so that a resumed run reads what it would have read.

    The run is one sequence of num_episodes times as many positions as there are rows, cut into steps of
    prompts_per_step; the last step may be smaller. Another prompts_per_step cuts the same sequence elsewhere, and
    further episodes only make it longer.

    Without probs all sources are one, and each episode reads every row once, in an order of its own. With probs each
    position first draws its source; every source is read through, in a new order each time, before a row of it
    comes again. Prompt.occurrence counts how often that row came before.

    sources: the prompts of each source; probs: a share for each source, of any sum; seed: keys every order.
    Raises PromptDataError for an empty source, a uid that occurs twice, or probs that do not fit the sources.
    """

    num_steps: int

    def __init__(
        self,
        sources: Sequence[Sequence[Prompt]],
        probs: Sequence[float] | None,
        prompts_per_step: int,
        num_episodes: int,
        seed: int,
    ) -> None:
        _check(sources, prompts_per_step, num_episodes)
        merged = [prompt for source in sources for prompt in source]
        self._sources: list[Sequence[Prompt]] = [merged] if probs is None else list(sources)
        self._prompts_per_step = prompts_per_step
        self._seed = seed
        self._num_positions = len(merged) * num_episodes
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._weights = None if probs is None else mixture_weights(probs, len(sources))
        nothing = np.zeros(0, dtype=np.int64)
        self._drawn = (nothing, nothing) if self._weights is None else _draw(self._weights, self._num_positions, seed)
        self.num_steps = -(-self._num_positions // prompts_per_step)

    def batch(self, step: int) -> list[Prompt]:
        """The prompts of one step, 1 being the first. Raises ValueError for a step the run does not have."""
        if not 1 <= step <= self.num_steps:
            raise ValueError(f"there is no step {step}: the run has steps 1 to {self.num_steps}")
        start = (step - 1) * self._prompts_per_step
        return [self._prompt(i) for i in range(start, min(start + self._prompts_per_step, self._num_positions))]

    def spare(self, start: int, count: int) -> list[Prompt]:
        """Prompts beyond those of all episodes, from number `start` on: what further episodes would read."""
        first = self._num_positions + start
        if self._weights is not None and first + count > len(self._drawn[0]):
            self._drawn = _draw(self._weights, 2 * (first + count), self._seed)
        return [self._prompt(i) for i in range(first, first + count)]

    def _prompt(self, position: int) -> Prompt:
        source, turn = 0, position
        if self._weights is not None:
            source, turn = int(self._drawn[0][position]), int(self._drawn[1][position])
        prompts = self._sources[source]
        episode, place = divmod(turn, len(prompts))
        return replace(prompts[int(self._order(source, episode)[place])], occurrence=episode)

    def _order(self, source: int, episode: int) -> NDArray[np.int64]:
        """[rows] a source's order in an episode; the latest is kept, since the next position mostly asks for it."""
        cached = self._orders.get(source)
        if cached is None or cached[0] != episode:
            cached = episode, permutation(len(self._sources[source]), self._seed, source, episode)
            self._orders[source] = cached
        return cached[1]


def _draw(weights: NDArray[np.float64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([count] source, [count] turn within that source) of each position."""
    sources = source_of_position(weights, count, seed)
    return sources, turn_within_source(sources, len(weights))


def _check(sources: Sequence[Sequence[Prompt]], prompts_per_step: int, num_episodes: int) -> None:
    if not sources or not all(sources):
        raise PromptDataError("every source of --prompt_data needs at least one prompt")
    if prompts_per_step < 1 or num_episodes < 1:
        raise PromptDataError(
            f"--rollout_batch_size and --num_episodes must be at least 1, not {prompts_per_step} and {num_episodes}"
        )
    uid, count = Counter(prompt.uid for source in sources for prompt in source).most_common(1)[0]
    if count > 1:
        raise PromptDataError(
            f'the uid "{uid}" occurs {count} times: it keys the randomness of its row, so make it unique'
        )

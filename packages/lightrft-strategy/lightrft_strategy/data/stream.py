"""The order of a run: which prompts each step reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lightrft_core.types import Prompt
from lightrft_strategy.data.order import RowOrder
from lightrft_strategy.data.rejected import PromptDataError


class PromptStream:
    """Prompts by step: a pure function of the step, so that a resumed run reads what it would have read.

    The run is one sequence of num_episodes times as many positions as there are rows, cut into steps of
    prompts_per_step; the last step may be smaller. Another prompts_per_step cuts the same sequence elsewhere, and
    further episodes only make it longer. Its order is a RowOrder; Prompt.occurrence counts how often a row came before.

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
        self._sources = list(sources)
        self._prompts_per_step = prompts_per_step
        self._num_positions = sum(map(len, sources)) * num_episodes
        self._order = RowOrder([len(source) for source in sources], probs, seed, self._num_positions)
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
        return [self._prompt(i) for i in range(first, first + count)]

    def _prompt(self, position: int) -> Prompt:
        place = self._order.place(position)
        return replace(self._sources[place.source][place.row], occurrence=place.episode)


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

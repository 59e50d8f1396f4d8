"""Which prompts to begin with: those whose answers are likely to be longest, so that none is left alone at the end."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_core import Group, Prompt


class ExpectedLengths:
    """Mean length of each row's last answers; a row not seen yet is expected to be as long as the average one."""

    def __init__(self) -> None:
        self._lengths: dict[str, float] = {}

    def longest_first(self, prompts: Sequence[Prompt]) -> list[int]:
        """Places of the prompts; among equals in the order given."""
        usual = sum(self._lengths.values()) / max(1, len(self._lengths))
        return sorted(range(len(prompts)), key=lambda i: -self._lengths.get(prompts[i].uid, usual))

    def learn(self, groups: Sequence[Group]) -> None:
        """Remember how long these answers were."""
        for group in groups:
            if group.rollouts:
                tokens = sum(len(rollout.token_ids) for rollout in group.rollouts)
                self._lengths[group.prompt.uid] = tokens / len(group.rollouts)

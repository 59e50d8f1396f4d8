"""Rewards of steps, brought to the tokens that end them: between what judges and what learns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightrft_core import Group, Reward, Rollout, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class StepCredit:
    """A Reward whose verdicts credit each step's reward, times `weight`, to the answer's token that ends the step.

    The score stays what it is and arrives at the last token, as without. A verdict without steps is left as it is.
    tokenizer: the policy's, by which a rollout's text is its tokens decoded.
    """

    reward: Reward
    tokenizer: PreTrainedTokenizerBase
    weight: float = 1.0

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        """One verdict per rollout. Raises ValueError for steps that are not those of the answer's text."""
        judged = self.reward.score(groups, step=step)
        return [
            [self._credited(rollout, verdict) for rollout, verdict in zip(group.rollouts, verdicts, strict=True)]
            for group, verdicts in zip(groups, judged, strict=True)
        ]

    def _credited(self, rollout: Rollout, verdict: Verdict) -> Verdict:
        if not verdict.steps:
            return verdict
        credit = tuple(
            (step_token(self.tokenizer, rollout, end), self.weight * reward) for end, reward in verdict.steps
        )
        return replace(verdict, credit=credit)


def step_token(tokenizer: PreTrainedTokenizerBase, rollout: Rollout, end: int) -> int:
    """The number of the first token by which the first `end` letters of a rollout's text are written, from 0.

    Raises ValueError if the text has not so many, or is not its tokens decoded.
    """

    def written(count: int) -> bool:
        text = str(tokenizer.decode(rollout.token_ids[:count], skip_special_tokens=True))
        return text[:end] == rollout.text[:end]

    if not 0 < end <= len(rollout.text) or not written(len(rollout.token_ids)):
        raise ValueError(f"a step ends behind {end} letters of an answer of {len(rollout.text)}, or it is another text")
    return bisect_left(range(len(rollout.token_ids)), True, key=lambda place: written(place + 1))

"""Rewards that arrive before an answer's last token: which token each of them belongs to, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch

from lightrft_core.advantages import Baseline
from lightrft_core.types import Credit, Group, StepReward


def credit(token_ends: Sequence[int], steps: Sequence[StepReward]) -> tuple[Credit, ...]:
    """Each step's reward at the token that ends it: the first by which all of the step's letters are written.

    token_ends: [time] how many letters of the answer's text are written by each of its tokens and those before.
    Raises ValueError if steps are not ascending, or the tokens do not write so far.
    """
    found: list[Credit] = []
    place = written = 0
    for end, reward in steps:
        while place < len(token_ends) and token_ends[place] < end:
            place += 1
        if place == len(token_ends) or end <= written:
            raise ValueError(f"a step ends at letter {end}, behind {written} of a text of {max(token_ends, default=0)}")
        found.append((place, reward))
        written = end
    return tuple(found)


def credit_advantages(groups: Sequence[Group], baseline: Baseline) -> dict[int, list[Credit]]:
    """What credited rewards are worth, by the answer's place in the batch of all groups' rollouts.

    The baseline compares all of a group's credited rewards with each other, as group_norm does in GRPO's process
    supervision (Shao et al. 2024, arXiv 2402.03300, section 4.1.3); returns to go then add up what follows a token.
    """
    rows: list[list[tuple[int, Credit]]] = []
    start = 0
    for group in groups:
        numbered = enumerate(group.rollouts, start=start)
        rows.append([(place, each) for place, one in numbered if one.verdict for each in one.verdict.credit])
        start += len(group.rollouts)
    width = max(map(len, rows), default=0)
    if not width:
        return {}
    rewards = torch.zeros(len(rows), width, dtype=torch.float64)
    valid = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        rewards[number, : len(row)] = torch.tensor([reward for _, (_, reward) in row], dtype=torch.float64)
        valid[number, : len(row)] = True
    worth = baseline(rewards, valid)
    found: dict[int, list[Credit]] = {}
    numbers = chain.from_iterable(worth[number, : len(row)].tolist() for number, row in enumerate(rows))
    for (place, (token, _)), advantage in zip(chain.from_iterable(rows), numbers, strict=True):
        found.setdefault(place, []).append((token, advantage))
    return found


def loss_token(loss_mask: Sequence[bool], token: int) -> int:
    """The number, among those that carry loss, of an answer's token, or of the last such one before it, or the first.

    Raises ValueError if the answer has no such token.
    """
    if not 0 <= token < len(loss_mask):
        raise ValueError(f"a reward is credited to token {token} of an answer of {len(loss_mask)}")
    return max(0, sum(map(bool, loss_mask[: token + 1])) - 1)

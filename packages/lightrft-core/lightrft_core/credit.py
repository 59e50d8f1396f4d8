"""Rewards that arrive before an answer's last token, such as those of its steps: what they are worth, and where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch

from lightrft_core.advantages import Baseline
from lightrft_core.types import Credit, Group


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

"""The input of a conformance check: one step's answers with every number a loss may read, nothing of a model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("continuous", "binary", "equal", "failing")


@dataclass
class Answer:
    """One answer. `reward` is None where judging failed; the lists hold one number for each of its tokens (>= 1)."""

    reward: float | None
    truncated: bool
    logprobs: list[float]
    old_logprobs: list[float]
    reference_logprobs: list[float]
    teacher_logprobs: list[float]
    rollout_logprobs: list[float]
    values: list[float]
    old_values: list[float]
    entropy: list[float]

    def __post_init__(self) -> None:
        lengths = {len(numbers) for numbers in vars(self).values() if isinstance(numbers, list)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"every list of an answer needs its length, at least 1; here are {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.logprobs)


@dataclass
class Case:
    """The answers of one optimiser step by question, and the budget of tokens each answer was generated under."""

    groups: list[list[Answer]]
    max_length: int

    def __post_init__(self) -> None:
        if any(len(answer) > self.max_length for group in self.groups for answer in group):
            raise ValueError(f"an answer is longer than the budget of {self.max_length} tokens")

    def judged(self) -> Iterator[tuple[int, int, Answer]]:
        """(group, place in it, answer) of every answer whose judging did not fail: those that count."""
        for g, group in enumerate(self.groups):
            for i, answer in enumerate(group):
                if answer.reward is not None:
                    yield g, i, answer

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Case:
        groups = [[Answer(**answer) for answer in group] for group in plain["groups"]]
        return cls(groups=groups, max_length=plain["max_length"])


def _rewards(rng: random.Random, kind: str, n: int) -> list[float | None]:
    if kind == "binary":
        return [float(rng.random() < 0.5) for _ in range(n)]
    if kind == "equal":
        return [rng.choice([0.0, 0.3, 1.0])] * n
    rewards: list[float | None] = [rng.gauss(0.0, 1.0) for _ in range(n)]
    if kind == "failing":
        rewards = [None if rng.random() < 0.4 else reward for reward in rewards]
    return rewards


def _answer(rng: random.Random, reward: float | None, max_length: int, spread: float) -> Answer:
    length = 1 if rng.random() < 0.2 else rng.randint(1, max_length)
    centres = [-2.0 * spread - rng.expovariate(1.0) for _ in range(length)]

    def logprobs() -> list[float]:
        return [centre + rng.uniform(-spread, spread) for centre in centres]

    old_values = [rng.gauss(0.0, 1.0) for _ in range(length)]
    return Answer(
        reward=reward,
        truncated=length == max_length,
        logprobs=logprobs(),
        old_logprobs=logprobs(),
        reference_logprobs=logprobs(),
        teacher_logprobs=logprobs(),
        rollout_logprobs=logprobs(),
        values=[value + rng.uniform(-0.5, 0.5) for value in old_values],
        old_values=old_values,
        entropy=[rng.expovariate(1.0) for _ in range(length)],
    )


def random_case(rng: random.Random, *, groups: int, n: int, max_length: int, spread: float) -> Case:
    """`groups` ragged groups of n answers (a fifth of them of one answer) of 1 to max_length tokens.

    Every log-probability is negative and the laws differ by less than 2 * spread at each token. A group's rewards are
    gaussian, binary, all equal, or gaussian with some judgements failed.
    """
    built = []
    for _ in range(groups):
        size = 1 if rng.random() < 0.2 else n
        rewards = _rewards(rng, rng.choice(KINDS), size)
        built.append([_answer(rng, reward, max_length, spread) for reward in rewards])
    return Case(groups=built, max_length=max_length)

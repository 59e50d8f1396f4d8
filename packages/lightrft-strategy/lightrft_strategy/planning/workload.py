"""How many answers, tokens and micro-batches a step has on one rank, if all are as long as expected."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple


class Rows(NamedTuple):
    """Padded rows, one for each of so many answers of a length. samples: of them belong to a prompt of a length.

    shared: they read on from its keys and values, of which each row has a copy; if not, each computes its prompt.
    """

    answers: int
    response_len: int
    samples: int
    prompt_len: int
    shared: bool


@dataclass(frozen=True)
class MicroBatch:
    """sequences: answers in it. tokens: computed, prompts included. scored: of them, those with a log-probability.

    prompts: whose media are read. rows: None: all is one row without padding.
    """

    sequences: int
    tokens: int
    scored: int
    prompts: int
    rows: Rows | None = None


@dataclass(frozen=True)
class Workload:
    """A step of the run on all ranks together.

    prompts, samples: prompts a step, answers a prompt. prompt_len, response_len: tokens.
    train_batch: samples an optimiser step; epochs: passes over the step's answers.
    token_budget, most_sequences: bounds of a micro-batch. shared: a prompt is computed once for all its answers there.
    budget_len: the longest answer that may be drawn. slices: ranks that compute every micro-batch together, a slice of
    its tokens each. tp: so many neighbours compute the same tokens, a slice of the layers each.
    padded: a micro-batch is computed as padded rows.
    """

    prompts: int
    samples: int
    prompt_len: int
    response_len: int
    train_batch: int
    epochs: int
    token_budget: int
    most_sequences: int
    shared: bool
    budget_len: int
    slices: int = 1
    tp: int = 1
    padded: bool = False

    def learners(self, ranks: int) -> int:
        """Shares that a step is dealt into for learning."""
        return max(1, ranks // (self.slices * self.tp))

    def answers(self, ranks: int) -> int:
        """Answers the busiest rank draws: whole prompts at a time."""
        return ceil(self.prompts / ranks) * self.samples

    @property
    def optimiser_steps(self) -> int:
        """Optimiser steps on one batch of rollouts."""
        return ceil(self.prompts * self.samples / self.train_batch) * self.epochs

    def sequences(self, ranks: int) -> int:
        """Answers of one optimiser step on one rank."""
        return ceil(min(self.train_batch, self.prompts * self.samples) / self.learners(ranks))

    def tokens(self, sequences: int) -> int:
        """Tokens that so many answers, side by side, cost."""
        prompts = ceil(sequences / self.samples) if self.shared else sequences
        return prompts * self.prompt_len + sequences * self.response_len

    def micro_batch(self, ranks: int) -> MicroBatch:
        """The usual micro-batch: as many answers of the expected length as its bounds admit."""
        most = min(self.most_sequences, self.sequences(ranks))
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.tokens(middle) <= self.token_budget else (low, middle - 1)
        tokens, scored = ceil(self.tokens(low) / self.slices), ceil(low * self.response_len / self.slices)
        return MicroBatch(low, tokens, scored, ceil(low / self.samples), self._rows(low))

    def largest(self, ranks: int) -> MicroBatch:
        """The largest micro-batch there may be: answers of other lengths than expected fill the budget to its end."""
        usual, most = self.micro_batch(ranks), min(self.most_sequences, self.sequences(ranks))
        tokens = max(usual.tokens, ceil(min(self.token_budget, self.tokens(most)) / self.slices))
        grown = tokens / usual.tokens
        prompts = min(ceil(most / self.samples), ceil(usual.prompts * grown))
        scored = min(tokens, ceil(usual.scored * grown))
        return MicroBatch(usual.sequences, tokens, scored, prompts, self._rows(scored // self.response_len))

    def _rows(self, answers: int) -> Rows | None:
        rows = Rows(answers, self.response_len, self.samples, self.prompt_len, self.shared)
        return rows if self.padded else None

    def micro_batches(self, ranks: int) -> int:
        """Micro-batches of one optimiser step on one rank."""
        return ceil(self.sequences(ranks) / self.micro_batch(ranks).sequences)

    def attended(self, ranks: int) -> float:
        """Pairs of a token and one it sees, itself included, in all that a rank computes in one pass over a step."""
        prompt, answer = self.prompt_len, self.response_len
        together = min(self.samples, self.micro_batch(ranks).sequences) if self.shared else 1
        of_prompt = prompt * (prompt + 1) / 2 / together
        answers = self.answers(self.learners(ranks)) / self.slices
        return answers * (of_prompt + answer * prompt + answer * (answer + 1) / 2)

    def computed(self, ranks: int) -> int:
        """Tokens a rank computes in one pass over a step's answers."""
        return self.passes(ranks) * self.micro_batch(ranks).tokens

    def seen(self, ranks: int) -> int:
        """Prompts whose media a rank reads in one pass over a step's answers."""
        return self.passes(ranks) * self.micro_batch(ranks).prompts

    def passes(self, ranks: int) -> int:
        """Micro-batches a rank computes in one pass over a step's answers."""
        return ceil(self.answers(self.learners(ranks)) / self.micro_batch(ranks).sequences)

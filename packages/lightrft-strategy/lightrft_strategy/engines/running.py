"""Answers that are being drawn, one a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightrft_core import SamplingParams
from lightrft_strategy.engines.stops import Tail, completed


@dataclass(frozen=True)
class Ended:
    """One answer that is done. token_ids, logprobs: [time]. stopped: by a token or a text, not by its budget."""

    token_ids: list[int]
    logprobs: list[float]
    stopped: bool


class Running:
    """The rows of running answers, `rows` of them now, in the order that the cache keeps.

    answer: [rows] what the engine calls it. law: [rows] its law's number. count: [rows] its tokens so far.
    """

    def __init__(self, rows: int, longest: int, device: torch.device) -> None:
        self.rows = 0
        self.device = device
        self._answer = torch.zeros(rows, dtype=torch.long, device=device)
        self._law, self._count, self._budget = (torch.zeros_like(self._answer) for _ in range(3))
        self._tokens = torch.zeros(rows, longest, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(rows, longest, device=device)
        self._uniforms = torch.zeros(rows, longest, dtype=torch.float64, device=device)
        self._tails: dict[int, Tail] = {}

    @property
    def answer(self) -> Tensor:
        return self._answer[: self.rows]

    @property
    def law(self) -> Tensor:
        return self._law[: self.rows]

    @property
    def count(self) -> Tensor:
        return self._count[: self.rows]

    @property
    def uniforms(self) -> Tensor:
        """[rows] float64, each row's for its next token."""
        return self._uniforms[torch.arange(self.rows, device=self.device), self.count]

    def admit(self, answer: int, law: SamplingParams, number: int, uniforms: NDArray[np.float64]) -> None:
        """One more answer, under the law of this number. uniforms: [its budget]."""
        row, budget = self.rows, law.max_new_tokens
        self._answer[row], self._law[row], self._count[row], self._budget[row] = answer, number, 0, budget
        self._uniforms[row, :budget] = torch.from_numpy(uniforms)
        if law.stop:
            self._tails[answer] = Tail(law.stop, law.min_new_tokens)
        self.rows += 1

    def record(self, tokens: Tensor, logprobs: Tensor) -> Tensor:
        """One more token a row. Returns [rows] bool, whether its budget is spent."""
        rows = torch.arange(self.rows, device=self.device)
        self._tokens[rows, self.count], self._logprobs[rows, self.count] = tokens, logprobs
        self.count.add_(1)
        return self.count == self._budget[: self.rows]

    def stopped_by_text(self, tokens: Tensor, decode: Callable[[list[list[int]]], list[str]]) -> Tensor:
        """[rows] bool, whether the token just recorded completes a stop text."""
        stopped = torch.zeros(self.rows, dtype=torch.bool, device=self.device)
        if self._tails:
            rows = {row: self._tails[a] for row, a in enumerate(self.answer.tolist()) if a in self._tails}
            now = tokens.tolist()
            stopped[[*rows]] = torch.tensor(
                completed([*rows.values()], [now[row] for row in rows], decode), device=self.device
            )
        return stopped

    def take(self, over: Tensor, stopped: Tensor) -> dict[int, Ended]:
        """The answers of the rows where `over` holds, by name; their rows stay until `close_up`. Both [rows] bool."""
        rows, taken = over.nonzero()[:, 0], {}
        columns: Sequence[Tensor] = (self._answer, self._count, self._tokens, self._logprobs, stopped)
        for answer, count, token_ids, logprobs, end in zip(*(c[rows].tolist() for c in columns), strict=True):
            taken[answer] = Ended(token_ids[:count], logprobs[:count], end)
            self._tails.pop(answer, None)
        return taken

    def close_up(self, holes: Tensor, movers: Tensor, remaining: int) -> None:
        """Let rows from the end take the places of those that have ended."""
        for column in (
            self._answer, self._law, self._count, self._budget, self._tokens, self._logprobs, self._uniforms
        ):  # fmt: skip
            column[holes] = column[movers]
        self.rows = remaining

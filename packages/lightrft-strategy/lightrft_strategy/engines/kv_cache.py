"""Keys and values of running answers: a prompt's once for all its answers, each answer's own beside them.

Short prompts are copied before each of their answers instead: attention then has one part and nothing to join.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""One layer's keys and values, each [rows, heads, time, dim]."""

COPIED_BYTES = 256 * 2**20
"""Copies of prompts take at most this.

On two CPU cores copies made sampling 9 to 16 % faster where prompts have 26 tokens, and no slower where they have 256.
"""


def copied(answers: int, prompt_time: int, bytes_per_token: int) -> bool:
    """Whether prompts of up to so many tokens are copied for each of so many answers side by side."""
    return answers * prompt_time * bytes_per_token <= COPIED_BYTES


def closing_moves(alive: Tensor) -> tuple[Tensor, Tensor]:
    """How to close up rows, alive being [rows] bool: (holes, movers), row movers[i] going to holes[i].

    Rows from the end fill the holes, so that only as many rows are copied as have ended.
    """
    remaining = int(alive.sum())
    return (~alive[:remaining]).nonzero()[:, 0], alive[remaining:].nonzero()[:, 0] + remaining


class RolloutCache:
    """Room for so many answers (rows) of so many prompts side by side, all in float32.

    copied: each answer holds its prompt as its own first tokens, and the prompts are held nowhere else.
    rows, prompts: how many there are now; they come first in every tensor.
    group: [rows] each answer's prompt. lengths: [rows] its own tokens held. prompt_lengths: [prompts], 0 where copied.
    following: [prompts] the rotary position of the answer's own first token.
    """

    def __init__(
        self, *, rows: int, prompts: int, prompt_time: int, answer_time: int, device: torch.device, copied: bool = False
    ) -> None:
        self.copied = copied
        self._prompts_room = prompts, prompt_time
        self._answers_room = rows, prompt_time + answer_time if copied else answer_time
        self._prompts: list[KeysValues] = []
        self._answers: list[KeysValues] = []
        self._next: dict[tuple[int, int], Tensor] = {}
        self.rows = self.prompts = 0
        self.group = torch.zeros(rows, dtype=torch.long, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.prompt_lengths = torch.zeros(prompts, dtype=torch.long, device=device)
        self.following = torch.zeros_like(self.prompt_lengths)

    def admit(self, states: Sequence[KeysValues], lengths: Tensor, following: Tensor, copies: int) -> None:
        """New prompts, with as many empty answers each as `copies`.

        states: each layer's keys and values of the prompts, padded on the right. lengths: [new prompts].
        following: [new prompts] the rotary position of the token after each.
        """
        if not self._answers:
            self._answers = _rooms(states, *self._answers_room)
            self._prompts = [] if self.copied else _rooms(states, *self._prompts_room)
        new = slice(self.prompts, self.prompts + len(lengths))
        rows = slice(self.rows, self.rows + len(lengths) * copies)
        if self.copied:
            _write(self._answers, rows, states, copies)
        else:
            _write(self._prompts, new, states)
        own = lengths if self.copied else torch.zeros_like(lengths)
        self.prompt_lengths[new], self.following[new] = lengths - own, following - own
        self.group[rows] = torch.arange(new.start, new.stop, device=lengths.device).repeat_interleave(copies)
        self.lengths[rows] = own.repeat_interleave(copies)
        self.prompts, self.rows = new.stop, rows.stop

    def prompt_states(self, layer: int, time: int) -> KeysValues:
        """Keys and values of the first `time` tokens of the prompts."""
        keys, values = self._prompts[layer]
        return keys[: self.prompts, :, :time], values[: self.prompts, :, :time]

    def append(self, layer: int, keys: Tensor, values: Tensor, time: int) -> KeysValues:
        """Write each row's next token, [rows, heads, dim]; return the answers' first `time` tokens.

        The rows' lengths stay as they are until every layer has written and `grow` is called.
        """
        for store, state in zip(self._answers[layer], (keys, values), strict=True):
            places = self._places(*store.shape[1:3])
            store.view(-1, store.shape[3]).index_copy_(0, places, state.flatten(0, 1).to(store))
        stored_keys, stored_values = self._answers[layer]
        return stored_keys[: self.rows, :, :time], stored_values[: self.rows, :, :time]

    def grow(self) -> None:
        """Count the token that every layer has appended to every row."""
        self.lengths[: self.rows] += 1
        self._next.clear()

    def _places(self, heads: int, time: int) -> Tensor:
        """[rows * heads]: where the next tokens go in a store whose rows, heads and time are laid out as one."""
        if (heads, time) not in self._next:
            first = torch.arange(self.rows * heads, device=self.lengths.device) * time
            self._next[heads, time] = first + self.lengths[: self.rows].repeat_interleave(heads)
        return self._next[heads, time]

    def retire(self, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Drop answers, and prompts whose last answer is gone. alive: [rows] bool. Returns the rows' closing moves."""
        holes, movers = closing_moves(alive)
        _move(self._answers, holes, movers, int(self.lengths[: self.rows].max()))
        self.group[holes], self.lengths[holes] = self.group[movers], self.lengths[movers]
        self.rows = int(alive.sum())
        wanted = torch.bincount(self.group[: self.rows], minlength=self.prompts) > 0
        places, prompts = closing_moves(wanted)
        _move(self._prompts, places, prompts, int(self.prompt_lengths[: self.prompts].max()))
        for column in (self.prompt_lengths, self.following):
            column[places] = column[prompts]
        place = torch.arange(self.prompts, device=alive.device)
        place[prompts] = places
        self.group[: self.rows] = place[self.group[: self.rows]]
        self.prompts = int(wanted.sum())
        return holes, movers


def _rooms(states: Sequence[KeysValues], rows: int, time: int) -> list[KeysValues]:
    """Zeros, not just any numbers: what is masked weighs nothing, but nothing times NaN is NaN."""

    def room(like: Tensor) -> Tensor:
        return like.new_zeros(rows, like.shape[1], time, like.shape[3], dtype=torch.float32)

    return [(room(keys), room(values)) for keys, values in states]


def _write(stores: Sequence[KeysValues], rows: slice, states: Sequence[KeysValues], copies: int = 1) -> None:
    """The first tokens of these rows; each state is that of `copies` rows side by side."""
    for stored, layer in zip(stores, states, strict=True):
        for store, state in zip(stored, layer, strict=True):
            store[rows, :, : state.shape[2]] = state.repeat_interleave(copies, 0)


def _move(stores: Sequence[KeysValues], holes: Tensor, movers: Tensor, time: int) -> None:
    if len(holes):
        for layer in stores:
            for store in layer:
                store[holes, :, :time] = store[movers, :, :time]

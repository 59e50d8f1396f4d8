"""Keys and values of running sequences in place: prompts once, answers appended, ended rows closed up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One attention layer's keys and values: [rows, heads, capacity, dim], filled from the left."""

    is_initialized: bool

    def __init__(self, capacity: int, copies: int) -> None:
        super().__init__()
        self.capacity, self.copies, self.length = capacity, copies, 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append. The first call is the prefill: each row is written `copies` times but attended to once."""
        prefill = not self.is_initialized
        if prefill:
            rows, heads, _, width = key_states.shape
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.storage = key_states.new_empty(2, rows * self.copies, heads, self.capacity, width)
            self.rows = rows * self.copies
        new = slice(self.length, self.length + key_states.shape[-2])
        for stored, states in zip(self.storage, (key_states, value_states), strict=True):
            stored[: self.rows, :, new] = states.repeat_interleave(self.copies, 0) if prefill else states
        self.length = new.stop
        if prefill:
            return key_states, value_states
        return self.storage[0, : self.rows, :, : self.length], self.storage[1, : self.rows, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def move(self, holes: Tensor, movers: Tensor, remaining: int) -> None:
        self.storage[:, holes, :, : self.length] = self.storage[:, movers, :, : self.length]
        self.rows = remaining


class RolloutCache(Cache):  # type: ignore[misc]
    """A cache that prefills each prompt once for its `copies` answers and drops rows that have ended."""

    def __init__(self, num_layers: int, capacity: int, copies: int) -> None:
        super().__init__(layers=[_Layer(capacity, copies) for _ in range(num_layers)])

    def retire(self, alive: Tensor) -> Tensor:
        """Drop rows. alive: [rows] bool. Returns the order of the rows that stay, as indices into the old rows.

        Rows from the end fill the holes, so that only as many rows are copied as have ended.
        """
        remaining = int(alive.sum())
        order = torch.arange(len(alive), device=alive.device)
        holes = (~alive[:remaining]).nonzero()[:, 0]
        movers = alive[remaining:].nonzero()[:, 0] + remaining
        order[holes] = movers
        for layer in self.layers:
            layer.move(holes, movers, remaining)
        return order[:remaining]

"""How close sampling comes to what memory bandwidth allows: decoding reads all weights and all keys for each token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lightrft_core import Group
from lightrft_strategy.devices import device
from lightrft_strategy.engines.footprint import kv_bytes_per_token


@dataclass(frozen=True)
class Roofline:
    """The memory side of the roofline model (Williams et al. 2009, doi 10.1145/1498765.1498785).

    weight_bytes: read once a decoding step. kv_bytes: of one token's keys and values. bandwidth: bytes a second.
    """

    weight_bytes: int
    kv_bytes: int
    bandwidth: float

    @classmethod
    def of(cls, model: Any) -> Roofline:
        """For a Hugging Face model in its present precision, on this machine as it now is."""
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        itemsize = table.element_size()
        if head is not table:
            weights -= table.numel() * itemsize  # a step looks up a row a token
        return cls(weights, kv_bytes_per_token(model.config, itemsize), memory_bandwidth())

    def utilisation(self, groups: Sequence[Group], seconds: float) -> float:
        """Share of the bandwidth that decoding these answers needed at least, had all been drawn side by side.

        Weights are read once for each position of the longest answer, an answer's keys and values up to each of its
        tokens; prefill counts as time without reading, so the share is a lower bound.
        """
        answers = [(group, rollout) for group in groups for rollout in group.rollouts]
        steps = max((len(rollout.token_ids) for _, rollout in answers), default=0)
        read = steps * self.weight_bytes
        for group, rollout in answers:
            tokens, prompt = len(rollout.token_ids), len(group.prompt.token_ids)
            read += self.kv_bytes * (tokens * prompt + tokens * (tokens - 1) // 2)
        return read / seconds / self.bandwidth


def memory_bandwidth(size: int = 2**28, repeats: int = 3) -> float:
    """Bytes a second that the device reads from its memory, by the best of a few sums over `size` bytes."""
    numbers = torch.ones(size // 4, device=device())
    best = 0.0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        float(numbers.sum())
        best = max(best, size / (time.perf_counter() - start))
    return best

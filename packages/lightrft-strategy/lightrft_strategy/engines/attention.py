"""One token of every running answer attends to its prompt, held once for all its answers, and to its own answer.

Where the cache holds a prompt's copy before each answer, the answer's own part is all there is. Otherwise the two parts
are joined exactly by their softmax sums, as in Hydragen (Juravsky et al. 2024, arXiv 2402.05099, section
3.1); the sums are kept as in online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import AttentionInterface

from lightrft_strategy.engines.kv_cache import RolloutCache

NAME = "lightrft_rollouts"
"""What transformers calls this attention."""

HIDDEN = -1e30
"""Added to the score of a key that is not to be seen; finite, so that a part without any key yields no NaN."""

Part: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Values weighed by exp(score - top), the sum of these weights, and top, the highest score: [..., queries, dim|1|1]."""


class DecodeStep:
    """Where the queries of one step belong. The rows of a prompt share its keys: their queries are laid side by side.

    positions: [rows] of the tokens being read, counted from the start of the prompt; rotary: as they are turned by.
    """

    def __init__(self, cache: RolloutCache) -> None:
        self.cache = cache
        group, lengths = cache.group[: cache.rows], cache.lengths[: cache.rows]
        prompt_lengths = cache.prompt_lengths[: cache.prompts]
        counts = torch.bincount(group, minlength=cache.prompts)
        rows = torch.arange(cache.rows, device=group.device)
        order, rank = group.argsort(stable=True), torch.empty_like(group)
        rank[order] = rows - (counts.cumsum(0) - counts)[group[order]]
        self._place = group, rank
        self._row = group.new_zeros(cache.prompts, int(counts.max()))
        self._row[group, rank] = rows
        self.positions, self.rotary = prompt_lengths[group] + lengths, cache.following[group] + lengths
        self.prompt_time, self.answer_time = int(prompt_lengths.max()), int(lengths.max()) + 1
        self._masks: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}

    def masks(self, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """What is added to scores: [prompts, 1, width, 1, prompt_time] and [rows, 1, 1, answer_time]; None: nothing.

        window: how many tokens a query sees, itself included; None: all.
        """
        if window not in self._masks:
            lengths, positions = self.cache.lengths[: self.cache.rows, None], self.positions[:, None]
            prompt = torch.arange(self.prompt_time, device=lengths.device)
            answer = torch.arange(self.answer_time, device=lengths.device)
            prompt_seen, answer_seen = prompt < positions - lengths, answer <= lengths
            if window is not None:
                prompt_seen &= positions - prompt < window
                answer_seen &= lengths - answer < window
            prompt_mask, answer_mask = _mask(prompt_seen), _mask(answer_seen)
            self._masks[window] = None if prompt_mask is None else self.side_by_side(prompt_mask), answer_mask
        return self._masks[window]

    def side_by_side(self, rows: Tensor) -> Tensor:
        """[rows, heads, queries, dim] -> [prompts, heads, width, queries, dim], width being the most rows of a prompt.

        A prompt with fewer rows has any other's in the places that are left.
        """
        return rows[self._row].transpose(1, 2)

    def back_in_rows(self, places: Tensor) -> Tensor:
        """[prompts, heads, width * queries, dim] -> [rows, heads, queries, dim]."""
        prompts, heads, _, dim = places.shape
        group, rank = self._place
        return places.view(prompts, heads, self._row.shape[1], -1, dim)[group, :, rank]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rollouts: DecodeStep,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer, as transformers calls it, in float32. key and value are the new token's alone.

    query: [rows, heads, 1, dim]. key, value: [rows, key heads, 1, dim]. Returns ([rows, 1, heads, dim], None).
    Raises ValueError if the model wants more of attention than scaling and a sliding window.
    """
    wanted = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if wanted:
        raise ValueError(f"the embedded engine's attention knows no {', '.join(wanted)}: sample with another engine")
    cache, layer = rollouts.cache, int(module.layer_idx)  # type: ignore[arg-type]
    (rows, heads, _, dim), key_heads = query.shape, key.shape[1]
    queries = (query.float() * (scaling or dim**-0.5)).view(rows, key_heads, heads // key_heads, dim)
    prompt_mask, answer_mask = rollouts.masks(sliding_window)
    held = cache.append(layer, key[:, :, 0], value[:, :, 0], rollouts.answer_time)
    if cache.copied:
        whole = torch.nn.functional.scaled_dot_product_attention(queries, *held, attn_mask=answer_mask, scale=1.0)
        return whole.reshape(rows, 1, heads, -1).to(query.dtype), None
    own = _part(queries, *held, answer_mask)
    placed = rollouts.side_by_side(queries)
    if prompt_mask is not None:
        prompt_mask = prompt_mask.expand(-1, -1, -1, placed.shape[3], -1).flatten(2, 3)
    states = cache.prompt_states(layer, rollouts.prompt_time)
    weighed, total, top = map(rollouts.back_in_rows, _part(placed.flatten(2, 3), *states, prompt_mask))
    return _joined(own, (weighed, total, top)).view(rows, 1, heads, -1).to(query.dtype), None


def _mask(seen: Tensor) -> Tensor | None:
    return None if seen.all() else torch.where(seen, 0.0, HIDDEN)[:, None, None]


def _part(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Part:
    scores = queries @ keys.transpose(-1, -2)
    if mask is not None:
        scores += mask
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    return weights @ values, weights.sum(-1, keepdim=True), top


def _joined(one: Part, other: Part) -> Tensor:
    """Softmax attention over the keys of both parts."""
    top = one[2].maximum(other[2])
    ours, theirs = (one[2] - top).exp(), (other[2] - top).exp()
    total = one[1] * ours + other[1] * theirs
    return (one[0] * (ours / total)).addcmul_(other[0], theirs / total)


@contextmanager
def rollout_attention(config: Any) -> Iterator[None]:
    """Within, a model of this config attends as above and builds no mask; its forward needs `rollouts=DecodeStep`."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(NAME, attend)

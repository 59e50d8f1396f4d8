"""The cache of keys and values against plain lists of rows."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_strategy.engines.kv_cache import RolloutCache


@given(
    prompts=st.integers(1, 4),
    copies=st.integers(1, 3),
    prompt_length=st.integers(1, 4),
    endings=st.lists(st.integers(0, 2**12 - 1), min_size=1, max_size=6),
)
def test_rows_that_stay_keep_their_keys_and_values_in_the_order_that_is_returned(
    prompts, copies, prompt_length, endings
) -> None:
    layers, heads, width = 2, 2, 3
    cache = RolloutCache(layers, prompt_length + len(endings), copies)
    generator = torch.Generator().manual_seed(prompts)

    def states(rows: int, time: int) -> torch.Tensor:
        return torch.randn(2, rows, heads, time, width, generator=generator)

    plain = []
    for layer in range(layers):
        prefill = states(prompts, prompt_length)
        keys, values = cache.update(*prefill, layer)
        assert torch.equal(torch.stack([keys, values]), prefill), "a prompt is attended to once"
        plain.append(prefill.repeat_interleave(copies, 1))
    rows = torch.arange(prompts * copies)
    for ending in endings:
        alive = torch.tensor([not ending >> int(row) & 1 for row in rows])
        order = cache.retire(alive)
        assert sorted(rows[order].tolist()) == sorted(rows[alive].tolist())
        rows = rows[order]
        if not len(rows):
            break
        for layer in range(layers):
            new = states(len(rows), 1)
            plain[layer] = torch.cat([plain[layer][:, order], new], 3)
            assert torch.equal(torch.stack(cache.update(*new, layer)), plain[layer])
        assert cache.get_seq_length() == plain[0].shape[3]

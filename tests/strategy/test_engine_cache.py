"""The cache of keys and values, and attention over it, against plain lists of rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_strategy.engines.attention import DecodeStep, attend
from lightrft_strategy.engines.kv_cache import RolloutCache

LAYERS, HEADS, EACH, WIDTH, ANSWER_TIME = 2, 2, 3, 4, 6


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    copies=st.integers(1, 3),
    copied=st.booleans(),
    window=st.sampled_from([None, 1, 3]),
    joining=st.lists(st.lists(st.integers(1, 4), max_size=2), min_size=1, max_size=ANSWER_TIME),
    endings=st.lists(st.integers(0, 2**12 - 1), min_size=ANSWER_TIME, max_size=ANSWER_TIME),
)
def test_prompts_that_join_and_answers_that_end_leave_every_other_answer_its_attention(
    seed, copies, copied, window, joining, endings
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def states(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    most = sum(map(len, joining))
    room = {"rows": most * copies, "prompts": most, "prompt_time": 4, "answer_time": ANSWER_TIME}
    cache = RolloutCache(**room, device=torch.device("cpu"), copied=copied)
    plain: list[list[torch.Tensor]] = []  # a row's keys and values, [2, heads, time, width], layer by layer
    for lengths, ending in zip(joining, endings, strict=False):
        if lengths:
            new = [(states(len(lengths), HEADS, max(lengths), WIDTH), states(len(lengths), HEADS, max(lengths), WIDTH))]
            new += [(2 * new[0][0], 3 * new[0][1])]
            cache.admit(new, torch.tensor(lengths), torch.tensor(lengths), copies)
            for prompt, length in enumerate(lengths):
                row = [torch.stack([keys[prompt, :, :length], values[prompt, :, :length]]) for keys, values in new]
                plain += [list(row) for _ in range(copies)]
        assert cache.rows == len(plain)
        if not plain:
            continue
        step = DecodeStep(cache)
        assert step.positions.tolist() == [row[0].shape[2] for row in plain]
        for layer in range(LAYERS):
            query, new = states(len(plain), HEADS * EACH, 1, WIDTH), states(2, len(plain), HEADS, 1, WIDTH)
            module = SimpleNamespace(layer_idx=layer)
            out, _ = attend(module, query, *new, None, rollouts=step, scaling=0.7, sliding_window=window)
            for i, row in enumerate(plain):
                row[layer] = torch.cat([row[layer], new[:, i]], 2)
                keys, values = row[layer][:, :, -window:] if window else row[layer]
                weights = (0.7 * query[i].view(HEADS, EACH, WIDTH) @ keys.mT).softmax(-1)
                torch.testing.assert_close(out[i, 0], (weights @ values).view(-1, WIDTH))
        cache.grow()
        alive = [not ending >> i & 1 for i in range(len(plain))]
        holes, movers = cache.retire(torch.tensor(alive))
        for hole, mover in zip(holes.tolist(), movers.tolist(), strict=True):
            plain[hole] = plain[mover]
        plain = plain[: sum(alive)]
        assert cache.prompts == len(set(cache.group[: cache.rows].tolist()))


@pytest.mark.parametrize("more", ["softcap", "s_aux", "position_bias"])
def test_what_this_attention_does_not_know_is_refused(more) -> None:
    with pytest.raises(ValueError, match=f"knows no {more}: sample with another engine"):
        attend(None, None, None, None, None, rollouts=None, **{more: 1.0})

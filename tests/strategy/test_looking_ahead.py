"""Masks of models that look ahead within an image, against those that transformers makes for Gemma 3."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import create_masks_for_vision_model

from lightrft_strategy.looking_ahead import looking_ahead_masks

KINDS = ["full_attention", "sliding_attention"]


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """(real, blocks) [rows, time]: texts with images in them, padded on the left or on the right."""
    side = draw(st.sampled_from(("left", "right")))
    time = draw(st.integers(2, 12))
    real = torch.ones(draw(st.integers(1, 3)), time, dtype=torch.bool)
    blocks = torch.full(real.shape, -1)
    for row in range(len(real)):
        length = draw(st.integers(1, time))
        padding = slice(0, time - length) if side == "left" else slice(length, time)
        numbers = draw(st.lists(st.sampled_from((-1, 0, 1)), min_size=time, max_size=time).map(sorted))
        real[row, padding] = False
        blocks[row] = torch.tensor(numbers).roll(draw(st.integers(0, time))).where(real[row], torch.tensor(-1))
    return real, blocks


@given(rows(), st.integers(1, 12))
def test_a_query_sees_what_the_models_own_masks_let_it_see(rows: tuple[Tensor, Tensor], window: int) -> None:
    real, blocks = rows
    config = Gemma3TextConfig(sliding_window=window, layer_types=KINDS, num_hidden_layers=2)
    config._attn_implementation = "sdpa"
    theirs = create_masks_for_vision_model(config, torch.zeros(*real.shape, 1), real, None, None, blocks)
    ours = looking_ahead_masks(config, real, blocks)
    assert sorted(ours) == KINDS
    for kind, mask in ours.items():
        assert mask.shape == (len(real), 1, real.shape[1], real.shape[1])
        assert torch.equal(mask[:, 0][real], theirs[kind][:, 0][real])


@given(rows())
def test_a_query_in_padding_sees_itself_and_never_nothing(rows: tuple[Tensor, Tensor]) -> None:
    real, blocks = rows
    config = Gemma3TextConfig(sliding_window=3, layer_types=KINDS, num_hidden_layers=2)
    for mask in looking_ahead_masks(config, real, blocks).values():
        assert mask.any(-1).all()
        assert not (mask[:, 0] & ~real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool)).any()


def test_layers_of_one_kind_get_one_mask() -> None:
    config = Gemma3TextConfig(layer_types=["full_attention"] * 2, num_hidden_layers=2)
    assert list(looking_ahead_masks(config, torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2))) == KINDS[:1]

"""What towers cost, by which batches are dealt to ranks, is about what they compute."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightrft_strategy.training.cost import cost_of

from .subject import Subject


def test_the_work_of_towers_is_about_what_they_compute_for_each_embedding(subject: Subject) -> None:
    """Within a factor of two, for attention and for layers that merge. Qwen2-Audio hears whole windows of 30 s."""
    told = subject.adapter.tower_work(subject.model)
    assert set(told) == set(subject.adapter.placeholders)
    for row, media in enumerate(subject.media):
        if not media:
            continue
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            subject.perceive([row])
        computed = counter.get_total_flops() / 2
        expected = sum(each * int((subject.ids[row] == token).sum()) for token, each in told.items())
        assert expected / 2 < computed
        assert computed < 2 * expected or subject.case.name == "qwen2_audio"


def test_the_cost_of_a_token_is_the_decoders_alone(subject: Subject) -> None:
    whole, text = cost_of(subject.model), cost_of(subject.model, subject.adapter)
    decoder = subject.adapter.decoder(subject.model)
    matrices = [weight for weight in decoder.parameters() if weight.ndim >= 2]
    embeddings = subject.model.get_input_embeddings().weight.numel()
    assert text.linear == sum(weight.numel() for weight in matrices) - embeddings < whole.linear
    assert dict(text.media) == pytest.approx(subject.adapter.tower_work(subject.model))

"""What towers cost, by which batches are dealt to ranks, is about what they compute."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightrft_strategy.training.cost import cost_of

from .subject import Subject


def test_the_work_of_towers_is_about_what_they_compute_for_each_embedding(subject: Subject) -> None:
    """Within a factor of two, which attention, merging layers and sounds shorter than a window make."""
    told = subject.adapter.tower_work(subject.model)
    assert set(told) == set(subject.adapter.placeholders)
    for row, media in enumerate(subject.media):
        ids = subject.ids[row]
        tokens = {token: int((ids == token).sum()) for token in told}
        if media and subject.model:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                subject.perceive([row], every_tower=False)
            found = counter.get_total_flops() / 2
            expected = sum(told[token] * count for token, count in tokens.items())
            print(subject.case.name, row, {medium.modality for medium in media}, found / expected)
            assert expected / 2 < found < 2 * expected


def test_the_cost_of_a_token_is_the_decoders_alone(subject: Subject) -> None:
    whole, text = cost_of(subject.model), cost_of(subject.model, subject.adapter)
    decoder = subject.adapter.decoder(subject.model)
    matrices = [weight for weight in decoder.parameters() if weight.ndim >= 2]
    embeddings = subject.model.get_input_embeddings().weight.numel()
    assert text.linear == sum(weight.numel() for weight in matrices) - embeddings < whole.linear
    assert dict(text.media) == pytest.approx(subject.adapter.tower_work(subject.model))

"""What an adapter hands to a decoder makes it compute what the whole model computes by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .subject import Subject, padded

EXACT = 1e-9


def test_the_decoder_computes_what_the_whole_model_computes(subject: Subject) -> None:
    with torch.no_grad():
        ours = subject.logits(subject.model, subject.perceive())
    real = subject.mask.bool()
    torch.testing.assert_close(ours[real], subject.own[real], rtol=0, atol=EXACT)


def test_positions_are_those_the_model_gives_its_decoder(subject: Subject) -> None:
    ours, real = subject.perceive().positions, subject.mask.bool()
    assert torch.equal(ours[:, real], subject.generated[0][:, real])
    assert not ours[:, ~real].any()


def test_counting_tokens_instead_of_their_places_in_pictures_would_be_noticed(subject: Subject) -> None:
    seen = subject.perceive()
    counted = (subject.mask.cumsum(1) - 1).clamp(min=0).expand_as(seen.positions)
    if subject.adapter.family.axes == 1:
        assert torch.equal(seen.positions, counted)
        return
    for row, media in enumerate(subject.media):
        flat = all(medium.modality == "audio" for medium in media)
        assert torch.equal(seen.positions[:, row], counted[:, row]) == flat
    with torch.no_grad():
        wrong = subject.logits(subject.model, seen, counted)
    shown = torch.tensor([any(medium.modality != "audio" for medium in media) for media in subject.media])
    apart = (wrong[shown, -1] - subject.own[shown, -1]).abs().amax(-1)
    assert (apart > 1000 * EXACT).all()


def test_the_answer_goes_on_where_the_models_own_generation_does(subject: Subject) -> None:
    own = subject.generated[1]
    assert torch.equal(subject.perceive().following.expand_as(own), own)


@pytest.mark.parametrize("left", [True, False])
def test_a_prompt_is_perceived_alike_alone_and_among_others_padded_on_either_side(subject: Subject, left: bool) -> None:
    rows = [ids for _, ids in subject.encoded]
    ids, mask = padded(rows, subject.adapter.tokenizer.pad_token_id, left=left)
    among = subject.adapter.perceive(subject.model, ids, mask, subject.media)
    for row, media in enumerate(subject.media):
        own = torch.tensor([rows[row]])
        alone = subject.adapter.perceive(subject.model, own, torch.ones_like(own), [media])
        real = mask[row].bool()
        assert torch.equal(among.positions[:, row, real], alone.positions[:, 0])
        assert among.following[row] == alone.following[0]
        here, there = among.places[row, real], alone.places[0]
        assert torch.equal(here >= 0, there >= 0)
        assert torch.equal(here >= 0, torch.isin(own[0], torch.tensor(subject.adapter.placeholders)))
        for many, one in zip((among.features, *among.deep), (alone.features, *alone.deep), strict=bool(media)):
            torch.testing.assert_close(many[here[here >= 0]], one[there[there >= 0]], rtol=0, atol=EXACT)
    assert not (among.places[~mask.bool()] >= 0).any()


def test_the_same_media_in_two_prompts_are_held_once(subject: Subject) -> None:
    row = next(row for row, media in enumerate(subject.media) if media)
    one, two = subject.perceive([row]), subject.perceive([row, row])
    assert len(two.features) == len(one.features) and torch.equal(two.places[0], two.places[1])


def test_other_media_change_what_the_model_says(subject: Subject) -> None:
    with torch.no_grad():
        seen = subject.perceive()
        blind = subject.logits(subject.model, _with(seen.features * 0, seen))
    shown = torch.tensor([bool(media) for media in subject.media])
    apart = (blind - subject.own).abs()[:, -1].amax(-1)
    assert (apart[shown] > 1000 * EXACT).all() and (apart[~shown] < EXACT).all()


def _with(features: Tensor, seen: object) -> object:
    from dataclasses import replace

    return replace(seen, features=features)  # type: ignore[type-var]

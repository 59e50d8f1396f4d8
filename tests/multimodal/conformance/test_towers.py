"""Towers run as often as they must, learn if they are to, and cost nothing where there is nothing to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from .subject import Subject, read

EXACT = 1e-9


def test_towers_are_named_by_modality_from_the_models_root(subject: Subject) -> None:
    assert set(subject.adapter.towers) == set(subject.case.modalities)
    inside = {id(weight) for weight in subject.adapter.decoder(subject.model).parameters()}
    named = dict(subject.model.named_parameters())
    for names in subject.adapter.towers.values():
        for name in names:
            weights = [weight for path, weight in named.items() if f"{path}.".startswith(f"{name}.")]
            assert weights and not inside & set(map(id, weights))


def test_decoder_and_towers_are_found_without_the_output_head(subject: Subject) -> None:
    model = subject.fresh()
    decoder, head = subject.adapter.decoder(model), model.get_output_embeddings()
    left = subject.adapter.headless(model)
    assert subject.adapter.decoder(left) is decoder
    assert head not in set(left.modules())
    seen = subject.adapter.perceive(left, subject.ids, subject.mask, subject.media)
    assert torch.equal(seen.features, subject.perceive().features)


def test_each_tower_runs_once_for_all_prompts_of_a_batch(subject: Subject) -> None:
    with counted(subject, subject.model) as runs:
        subject.perceive()
    assert set(runs.values()) == {1}


def test_gradients_of_towers_are_the_models_own(subject: Subject) -> None:
    model, weights = subject.fresh(), _noise(subject)
    loss(subject.own_logits(model), weights).backward()
    own = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    seen = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    loss(subject.logits(model, seen), weights).backward()
    ours = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert ours.keys() == own.keys()
    assert any(name.startswith(_tower_names(subject)) for name in ours)
    within = subject.case.gradients
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, own[name], rtol=within, atol=within, msg=f"of {name}")


def test_towers_without_anything_to_read_run_and_change_nothing(subject: Subject) -> None:
    model, text = subject.fresh(), [0]
    reached = {name for name, weight in model.named_parameters() if name.startswith(_tower_names(subject))} & {
        name for name, gradient in _gradients(subject, model, range(len(subject.media))).items()
    }
    ids, mask = subject.ids[text], subject.mask[text]
    quiet = read(subject.adapter, model, ids, mask, subject.adapter.perceive(model, ids, mask, [()]))
    with counted(subject, model) as runs:
        seen = subject.adapter.perceive(model, ids, mask, [()], every_tower=True)
    assert set(runs.values()) == {1} and set(runs) == set(_modules(subject))
    assert seen.nothing is not None and seen.nothing == 0
    assert seen.features.shape == (0, model.config.get_text_config().hidden_size)
    model.zero_grad(set_to_none=True)
    logits = read(subject.adapter, model, ids, mask, seen)
    assert torch.equal(logits, quiet)
    logits.square().sum().backward()
    for name, weight in model.named_parameters():
        if name in reached:
            assert weight.grad is not None and not weight.grad.any(), name


def test_only_towers_without_anything_to_read_count_as_nothing(subject: Subject) -> None:
    model = subject.fresh()
    for row, media in enumerate(subject.media):
        shown = {medium.modality for medium in media}
        ids, mask = subject.ids[row, None], subject.mask[row, None]
        with counted(subject, model) as runs:
            seen = subject.adapter.perceive(model, ids, mask, [media], every_tower=True)
        assert set(runs.values()) == {1} and set(runs) == set(_modules(subject))
        idle = [tower for tower in subject.adapter.family.towers if not shown & set(tower.modalities)]
        assert (seen.nothing is None) == (not idle)
        alone = subject.adapter.perceive(model, ids, mask, [media])
        assert torch.equal(seen.features, alone.features) and torch.equal(seen.places, alone.places)


def test_embeddings_of_towers_that_do_not_learn_are_kept(subject: Subject) -> None:
    model = _frozen(subject.fresh())
    first = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    with counted(subject, model) as runs:
        again = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
        some = subject.adapter.perceive(model, subject.ids[1:3], subject.mask[1:3], subject.media[1:3])
    assert not runs
    assert torch.equal(first.features, again.features) and not first.features.requires_grad
    torch.testing.assert_close(some.features, subject.perceive([1, 2]).features, rtol=0, atol=EXACT)


def test_what_was_kept_while_nothing_was_learnt_can_be_learnt_from(subject: Subject) -> None:
    subject.adapter._features.clear()
    subject.adapter._inputs.clear()
    model = _frozen(subject.fresh())
    with torch.inference_mode():
        subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    with counted(subject, model) as runs:
        seen = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    assert not runs
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (seen.features * scale).sum().backward()
    for media in subject.media:
        for tensor in subject.adapter.inputs(media).values():
            assert not tensor.is_inference()


@pytest.mark.parametrize("why", ["learning", "every tower", "another model", "written to", "no room"])
def test_embeddings_are_not_kept_where_they_may_be_others(
    subject: Subject, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _frozen(subject.fresh())
    if why == "no room":
        monkeypatch.setattr(subject.adapter, "_features_bytes", 10)
    subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    options = {}
    match why:
        case "learning":
            for weight in model.parameters():
                weight.requires_grad_()
        case "every tower":
            options = {"every_tower": True}
        case "another model":
            model = _frozen(subject.fresh())
        case "written to":
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(1.5)
    with counted(subject, model) as runs:
        seen = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media, **options)
    assert set(runs) == set(_modules(subject)) and set(runs.values()) == {1}
    assert torch.allclose(seen.features, subject.perceive().features) == (why != "written to")


@contextmanager
def counted(subject: Subject, model: Any) -> Iterator[Counter[str]]:
    """How often each module of a tower was called, by its name in the base model; those that were."""
    runs: Counter[str] = Counter()
    handles = [
        model.base_model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: runs.update([name]))
        for name in _modules(subject)
    ]
    try:
        yield runs
    finally:
        for handle in handles:
            handle.remove()


def loss(logits: Tensor, weights: Tensor) -> Tensor:
    """One number of all logits at real tokens."""
    return (logits.log_softmax(-1) * weights).sum()


def _noise(subject: Subject) -> Tensor:
    vocabulary = subject.model.config.get_text_config().vocab_size
    noise = torch.randn(*subject.ids.shape, vocabulary, generator=torch.Generator().manual_seed(0)).double()
    return noise * subject.mask[..., None]


def _gradients(subject: Subject, model: Any, rows: Sequence[int]) -> dict[str, Tensor]:
    seen = subject.adapter.perceive(model, subject.ids, subject.mask, subject.media)
    (seen.features.square().sum() + sum(deep.square().sum() for deep in seen.deep)).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def _frozen(model: Any) -> Any:
    for weight in model.parameters():
        weight.requires_grad_(False)
    return model


def _modules(subject: Subject) -> list[str]:
    """Names in the base model, without those of single parameters."""
    modules = dict(subject.model.base_model.named_modules())
    names = [name for tower in subject.adapter.family.towers for name in tower.modules]
    return [name for name in dict.fromkeys(names) if name in modules]


def _tower_names(subject: Subject) -> tuple[str, ...]:
    return tuple(f"{name}." for names in subject.adapter.towers.values() for name in names)

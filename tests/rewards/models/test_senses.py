"""Reward models that see and hear learn what only eyes or ears can decide, and score each passage for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from lightrft_multimodal.adapters import load_adapter
from lightrft_multimodal.tiny import build_qwen2_5_omni
from lightrft_rewards.models.batches import collate_contests
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.contest_losses import LOSSES, LossOptions
from lightrft_rewards.models.loading import load_reward_model, save_reward_model
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import POOLINGS, RewardModel
from lightrft_strategy.reading import Reader

from .planted import in_float64, scored, taught
from .shown import SENSES, SIZES, Subject

pytestmark = pytest.mark.usefixtures("one_thread")

SubjectOf = Callable[[str], Subject]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SubjectOf:
    """subject(sense): a tiny model that is built once."""
    built: dict[str, Subject] = {}

    def of(sense: str) -> Subject:
        if sense not in built:
            built[sense] = Subject(sense, tmp_path_factory.mktemp(sense) / "model")
        return built[sense]

    return of


def of_each_alone(model: RewardModel, passages: list[Passage]) -> torch.Tensor:
    alone = [collate_contests([Contest("", (passage,), {})], model.heads) for passage in passages]
    return torch.cat([scored(model, batch) for batch in alone])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("sense", SENSES)
def test_media_beside_it_and_padding_change_no_score(sense: str, pooling: str, subject: SubjectOf) -> None:
    it = subject(sense)
    model = in_float64(RewardModel(it.model(), reader=Reader(it.adapter), pooling=pooling)).requires_grad_(False)
    if model.query is not None:
        torch.nn.init.normal_(model.query.weight, generator=torch.Generator().manual_seed(5))
    rows = [*it.contests(2, 0, made=True), *it.contests(2, 1, made=False)]
    passages = [passage for row in rows for passage in row.passages]
    passages.append(Passage(passages[-1].token_ids + passages[-1].token_ids[-9:], passages[-1].media))
    alone = of_each_alone(model, passages)
    assert len({f"{float(score):.6f}" for score in alone}) == len(passages)
    Random(3).shuffle(order := list(range(len(passages))))
    together = collate_contests([Contest("", tuple(passages[place] for place in order), {})], model.heads)
    assert (scored(model, together) - alone[order]).abs().max() < 1e-9
    assert together.prompt_mask.logical_not().any()


@pytest.mark.parametrize(("sense", "pooling"), [("image", "last"), ("image", "attention"), ("audio", "mean")])
def test_a_model_with_senses_comes_back_with_its_scores(
    sense: str, pooling: str, subject: SubjectOf, tmp_path: Path
) -> None:
    it = subject(sense)
    model = RewardModel(it.model(), reader=Reader(it.adapter), pooling=pooling, probing_layer=1)
    card = RewardCard(pooling=pooling, probing_layer=1)
    save_reward_model(model, it.adapter.processor, tmp_path, card)
    loaded = load_reward_model(tmp_path)
    passages = [passage for row in it.contests(3, 0, made=False) for passage in row.passages]
    assert loaded.adapter is not None and loaded.encoder() is not None
    assert loaded.card == card
    assert torch.equal(of_each_alone(loaded.model, passages), of_each_alone(model, passages))


def test_a_family_without_a_base_model_comes_back_too(subject: SubjectOf, tmp_path: Path) -> None:
    folder = build_qwen2_5_omni(tmp_path / "omni", SIZES)
    adapter = load_adapter(folder)
    assert adapter is not None
    model = RewardModel(adapter.load_model(folder), reader=Reader(adapter), pooling="mean")
    save_reward_model(model, adapter.processor, tmp_path / "rm", RewardCard(pooling="mean"))
    loaded = load_reward_model(tmp_path / "rm")
    passages = [Passage((40, 41, 42)), Passage((60, 61))]
    assert torch.equal(of_each_alone(loaded.model, passages), of_each_alone(model, passages))


@pytest.mark.proof
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("sense", "made"), [("image", True), ("audio", False)])
def test_every_loss_and_pooling_learns_what_is_seen_or_heard(
    sense: str, made: bool, loss: str, pooling: str, subject: SubjectOf
) -> None:
    it, options = subject(sense), LossOptions(loss)
    model = RewardModel(it.model(), reader=Reader(it.adapter), pooling=pooling, uncertain=options.needs_uncertain)
    rows, held_out = it.contests(500, 0, made=made), it.contests(100, 1, made=made)
    if loss in ("hps", "davidson", "rao_kupper"):
        rows = [with_ties(row, number) for number, row in enumerate(rows)]
    if loss == "cross_entropy":
        rows, held_out = [with_chances(row) for row in rows], [with_chances(row) for row in held_out]
    lines = taught(model, RewardObjective(loss_options=options), rows, held_out, steps=120, learning_rate=2e-3)
    assert lines[0]["eval/accuracy"] < 0.8
    assert lines[-1]["eval/accuracy"] > 0.95


def with_chances(row: Contest) -> Contest:
    """Good is what is right, whatever it is compared with."""
    return replace(row, labels={"score": tuple(float(label == 0) for label in row.labels["score"])})


def with_ties(row: Contest, number: int) -> Contest:
    """Every fourth contest between two copies of one answer, which nobody prefers."""
    if number % 4:
        return row
    return replace(row, passages=(row.passages[0],) * 2, labels={"score": (0.0, 0.0)})

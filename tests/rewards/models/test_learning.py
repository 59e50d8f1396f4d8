"""A planted preference is learnt, by any loss and any pooling, and told exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightrft_rewards.models.contest_losses import LOSSES, LossOptions
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.reward_model import POOLINGS, RewardModel

from .planted import contests, taught, tiny_backbone

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_planted_preference_is_learnt_from_text() -> None:
    model = RewardModel(tiny_backbone(1), pooling="mean")
    lines = taught(model, RewardObjective(), contests(1280), contests(200, seed=1), steps=80)
    assert lines[0]["eval/accuracy"] < 0.8
    assert lines[-1]["eval/accuracy"] > 0.95
    assert lines[-1]["rm/loss"] < 0.3 < 0.5 < lines[1]["rm/loss"]
    assert lines[-1]["eval/margin"] == pytest.approx(
        lines[-1]["eval/chosen_reward"] - lines[-1]["eval/rejected_reward"]
    )


@pytest.mark.proof
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_it_with_every_pooling(loss: str, pooling: str) -> None:
    options = LossOptions(loss)
    model = RewardModel(tiny_backbone(1), pooling=pooling, uncertain=options.needs_uncertain)
    rows = contests(2400, answers=3)
    if loss in ("hps", "davidson", "rao_kupper"):
        rows = [replace(row, labels={"score": tuple(min(label, 3.0) for label in row.labels["score"])}) for row in rows]
    held_out = contests(200, seed=1)
    if loss == "cross_entropy":
        rows, held_out = [with_chances(row) for row in rows], [with_chances(row) for row in held_out]
    lines = taught(model, RewardObjective(loss_options=options), rows, held_out, steps=150)
    assert lines[-1]["eval/accuracy"] > 0.95


def with_chances(row: Contest) -> Contest:
    """Good are answers with at least one good token."""
    return replace(row, labels={"score": tuple(float(label >= 1) for label in row.labels["score"])})


@pytest.mark.proof
def test_two_heads_learn_opposite_preferences() -> None:
    heads = ("helpful", "harmless")
    model = RewardModel(tiny_backbone(1), heads=heads, pooling="mean")
    rows, held_out = contests(4000, heads=heads), contests(200, seed=1, heads=heads)
    half = [replace(row, labels={heads[number % 2]: row.labels[heads[number % 2]]}) for number, row in enumerate(rows)]
    lines = taught(model, RewardObjective(heads), half, held_out, steps=250)
    assert min(lines[-1]["eval/helpful/accuracy"], lines[-1]["eval/harmless/accuracy"]) > 0.95

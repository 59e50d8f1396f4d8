"""A micro-batch of nothing: a rank computes it while others learn, and nobody learns from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import (
    ALGORITHMS,
    Algorithm,
    Batch,
    Correction,
    CorrectionLevel,
    CorrectionMode,
    Metrics,
    TrainingSequence,
    collate,
)
from lightrft_strategy.language import LanguageActor, LanguageCritic

pytestmark = pytest.mark.usefixtures("one_thread")

CORRECTIONS = {
    f"{level} {mode}": replace(ALGORITHMS["grpo"], correction=Correction(level, mode))
    for level in CorrectionLevel
    for mode in CorrectionMode
}
EVERY_TERM = replace(
    ALGORITHMS["gspo"], kl_coef=0.1, kl_unbiased=True, teacher_kl_coef=0.1, entropy_coef=0.1, drift_coef=0.1
)
CASES = ALGORITHMS | CORRECTIONS | {"every term": EVERY_TERM}


@pytest.fixture(scope="module")
def models(tiny_model) -> dict[str, Any]:
    return {"policy": LanguageActor(tiny_model(1)), "critic": LanguageCritic(tiny_model(2))}


@pytest.fixture
def learners(models) -> dict[str, Any]:
    """A policy and a critic without any gradient yet."""
    for model in models.values():
        model.zero_grad()
    return models


def a_batch() -> Batch:
    """One answer of which every model was asked."""
    numbers = torch.tensor([-1.0, -2.0, -1.5])
    return collate(
        [
            TrainingSequence(
                prompt_ids=(1, 2),
                response_ids=[3, 4, 5],
                loss_mask=[True] * 3,
                weight=1 / 3,
                advantages=torch.ones(3),
                rollout_logprobs=numbers,
                old_logprobs=numbers,
                reference_logprobs=numbers,
                teacher_logprobs=numbers,
                old_values=numbers,
                returns=numbers + 1,
                selected=torch.tensor([True, False, True]),
            )
        ]
    )


def assert_learns_nothing(model: Any) -> None:
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name}: ranks that add up gradients wait for it"
        assert parameter.grad.eq(0).all(), name


def test_no_sequences_make_a_batch_of_one_token_that_carries_no_loss() -> None:
    batch = collate([])
    assert batch.prompt_ids.shape == batch.response_ids.shape == (1, 1)
    assert batch.prompt_mask.all()
    assert not batch.loss_mask.any()
    for name in ("sequence_ids", "weights", "advantages", "rollout_logprobs", "old_values", "returns"):
        assert getattr(batch, name).shape == (0,), name


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_policy_learns_exactly_nothing_from_an_empty_batch(learners, name: str, checkpointing: bool) -> None:
    policy, algorithm = learners["policy"], CASES[name]
    if checkpointing:
        policy.model.gradient_checkpointing_enable()
        policy.model.train()
    try:
        loss, metrics = algorithm.loss(policy(collate([])), collate([]))
        loss.backward()
    finally:
        policy.model.gradient_checkpointing_disable()
        policy.model.eval()
    assert loss.item() == 0
    assert metrics.result() == {}
    assert_learns_nothing(policy)


@pytest.mark.parametrize("name", CASES)
def test_a_critic_learns_exactly_nothing_from_an_empty_batch(learners, name: str) -> None:
    loss, metrics = CASES[name].value_loss(learners["critic"](collate([])), collate([]))
    loss.backward()
    assert loss.item() == 0
    assert metrics.result() == {}
    assert_learns_nothing(learners["critic"])


@pytest.mark.parametrize("name", CASES)
def test_an_empty_batchs_metrics_change_no_metric(learners, name: str) -> None:
    def metrics_of(*batches: Batch) -> Metrics:
        together = Metrics()
        for batch in batches:
            together.merge(losses(CASES[name], learners, batch))
        return together

    alone = metrics_of(a_batch()).result()
    assert {"policy/entropy", "engine/weight_effective_share", "critic/value_mean"} <= alone.keys()
    assert metrics_of(collate([]), a_batch(), collate([])).result() == alone


def losses(algorithm: Algorithm, learners: dict[str, Any], batch: Batch) -> Metrics:
    """What both losses measure."""
    _, metrics = algorithm.loss(learners["policy"](batch), batch)
    metrics.merge(algorithm.value_loss(learners["critic"](batch), batch)[1])
    return metrics

"""What routers' imbalance adds to a step's loss: its coefficient, and each micro-batch's share of the step's tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightrft_core import ALGORITHMS, BatchSizes, Metrics, PolicyOutput, TrainingSequence, collate
from lightrft_core.batching import read_tokens
from lightrft_core.plan import optimiser_steps

GRPO = ALGORITHMS["grpo"]


def sequence(prompt: int, length: int, place: int, mask: list[bool] | None = None, advantage: float = 1.0):
    kept = mask or [True] * length
    advantages = torch.full((sum(kept),), advantage)
    return TrainingSequence(tuple(range(prompt)), [place] * length, kept, 0.0, advantages, -advantages.abs(), place)


def loss(coefficient: float, aux_loss: torch.Tensor | None, share: float):
    batch = replace(collate([sequence(2, 3, 0)]), share=share)
    output = PolicyOutput(-torch.ones(3), torch.ones(3), aux_loss)
    return replace(GRPO, aux_loss_coef=coefficient).loss(output, batch)


def test_the_loss_grows_by_coefficient_times_share_times_imbalance() -> None:
    imbalance = torch.tensor(2.5, requires_grad=True)
    (with_it, metrics), (without, _) = loss(0.1, imbalance, 0.25), loss(0.1, None, 0.25)
    assert with_it.item() - without.item() == pytest.approx(0.1 * 0.25 * 2.5, rel=1e-5)
    assert torch.autograd.grad(with_it, imbalance)[0].item() == pytest.approx(0.1 * 0.25)
    assert metrics.result()["policy/aux_loss"] == 2.5


def test_a_model_without_routers_has_no_such_metric() -> None:
    assert "policy/aux_loss" not in loss(0.0, None, 1.0)[1].result()


def test_the_metric_is_a_mean_over_the_steps_tokens_whatever_the_order() -> None:
    one, other = loss(0.1, torch.tensor(1.0), 0.2)[1], loss(0.1, torch.tensor(3.0), 0.8)[1]
    for first, second in ((one, other), (other, one)):
        together = Metrics()
        together.merge(first), together.merge(second)
        assert together.result()["policy/aux_loss"] == pytest.approx(0.2 * 1 + 0.8 * 3)


def test_a_sequence_is_read_up_to_before_its_last_loss_token() -> None:
    assert read_tokens(sequence(4, 3, 0)) == 6
    assert read_tokens(sequence(4, 5, 0, [True, False, True, False, False])) == 6
    assert read_tokens(sequence(4, 1, 0)) == 4
    assert read_tokens(sequence(4, 2, 0, [False, False])) == 0


@pytest.mark.parametrize("micro_batch", [1, 3, 16])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_shares_of_all_micro_batches_of_a_step_add_up_to_one(ranks: int, micro_batch: int) -> None:
    """Whatever is not learnt from takes no part, nor does a micro-batch without sequences."""
    sequences = [sequence(3, 2 + place % 5, place) for place in range(8)] + [sequence(3, 9, 8, advantage=0.0)]
    for step in optimiser_steps(sequences, 9, GRPO, BatchSizes(5, micro_batch, 100, 9), ranks):
        batches = [collate(micro_batch) for rank in step for micro_batch in rank]
        assert sum(batch.share for batch in batches) == pytest.approx(1)
    shares = {each.place: each.share for each in sequences[:5]}
    assert shares[1] / shares[0] == pytest.approx(read_tokens(sequences[1]) / read_tokens(sequences[0]))
    assert collate([]).share == 0

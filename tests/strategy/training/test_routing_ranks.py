"""Experts that are balanced in shards: the same loss and gradient as in one process, micro-batch by micro-batch."""

from __future__ import annotations

from dataclasses import replace

import numpy
import pytest
import torch.distributed as dist

from lightrft_core import ALGORITHMS, OneRank, Ranks
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.zero import Zero

from .recorded import a_batch, language_model

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("one_thread")]

HOLDS: dict[str, Hold] = {
    "ddp": Whole,
    "fsdp2": FullyShard(),
    "zero 1": Zero(1),
    "zero 2": Zero(2),
    "zero 3": Zero(3, persistence_threshold=0),
}
BALANCED = replace(ALGORITHMS["grpo"], kl_coef=0.0, aux_loss_coef=2.0)


def balancing(hold: Hold, again: bool = False) -> tuple[list[float], list[float], list[float]]:
    """(loss, gradient norm, imbalance) of four steps of four micro-batches; again: activations are computed twice."""
    ranks: Ranks = TorchRanks() if dist.is_initialized() else OneRank()
    model = language_model("DeepseekV3")
    if again:
        model.gradient_checkpointing_enable()
        model.train()
    actor = LanguageActor(model, balance=True)
    ours = TorchStrategy({"policy": actor}, {"policy": OptimiserConfig(1e-3, 9)}, hold=hold, ranks=ranks)
    losses, norms, imbalances = [], [], []
    for number in range(4):
        shares = (0.1, 0.2, 0.3, 0.4)
        batches = [replace(a_batch(9 * number + i), share=share) for i, share in enumerate(shares)]
        report = ours.train_step("policy", batches[ranks.rank :: ranks.world_size], BALANCED.loss)
        assert report.fault == ""
        losses.append(report.loss)
        norms.append(report.grad_norm)
        imbalances.append(ours.reduce(report.metrics)["policy/aux_loss"])
    return losses, norms, imbalances


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("hold", HOLDS)
def test_balancing_is_that_of_one_process(processes, hold: str, again: bool) -> None:
    expected = balancing(Whole)
    assert all(imbalance > 2 for imbalance in expected[2])
    for found in processes(2).run(balancing, HOLDS[hold], again):
        for mine, theirs in zip(found, expected, strict=True):
            numpy.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)

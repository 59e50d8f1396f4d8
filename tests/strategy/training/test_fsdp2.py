"""What is particular to shards: how much each rank holds, and what cannot be held so."""

from __future__ import annotations

import pytest
from torch import nn
from torch.distributed.tensor import DTensor

from lightrft_core import OneRank
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import FullyShard, OptimiserConfig
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.full import local

from .recorded import Case, a_batch, build, language_model, plain_loss


def shares(case: Case) -> tuple[float, bool]:
    """(this rank's share of weights and moments, whether anything is left whole after a forward pass and a step)."""
    strategy = build(case)
    held = strategy.held["policy"]
    strategy.forward("policy", [a_batch(1)])
    parameters = list(held.module.parameters())
    strategy.train_step("policy", [a_batch(1)], plain_loss)
    tensors = [tensor for tensor in held.state().values() if tensor.ndim]
    share = sum(local(tensor).numel() for tensor in tensors) / sum(tensor.numel() for tensor in tensors)
    return share, all(isinstance(parameter, DTensor) for parameter in [*parameters, *held.module.parameters()])


@pytest.mark.parametrize("hold", ["fsdp2", "fsdp2 kept"])
def test_each_rank_holds_its_share_and_nothing_stays_gathered(processes, hold: str) -> None:
    results = processes(4).run(shares, Case(hold))
    assert sum(share for share, _ in results) == pytest.approx(1)
    assert max(share for share, _ in results) < 0.27
    assert all(sharded for _, sharded in results)


def test_layers_are_found_by_what_the_model_says_not_to_split() -> None:
    assert [type(layer).__name__ for layer in layers(LanguageActor(language_model()))] == ["LlamaDecoderLayer"] * 2


def test_a_model_without_layers_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"Linear has no list of layers to shard one by one .*hold this model whole"):
        layers(nn.Linear(2, 2))


def test_a_plain_start_cannot_hold_shards_and_says_what_to_use() -> None:
    with pytest.raises(ValueError, match="use it, be it for one process"):
        FullyShard()(language_model(), OptimiserConfig(1e-3, 1), None, OneRank())

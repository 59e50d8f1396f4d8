"""Whole weights out of shards: for engines, for export, for the probe of a hand-over."""

from __future__ import annotations

import numpy
import pytest

from lightrft_core import OneRank
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole

from .recorded import a_batch, language_model, plain_loss

CONFIG = OptimiserConfig(1e-2, 10)
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
Weights = list[tuple[tuple[str, ...], str, numpy.ndarray]]


def published(hold: Hold, tied: bool, bf16: bool, trained: bool) -> tuple[Weights, list[float], Weights]:
    """Names, dtypes and numbers as an engine gets them, and the probe's; before and after a step."""
    ranks = OneRank() if hold is Whole else TorchRanks()
    model = language_model(tie_word_embeddings=tied)
    optimisers = {"policy": CONFIG} if trained else {}
    strategy = TorchStrategy({"policy": LanguageActor(model)}, optimisers, bf16=bf16, hold=hold, ranks=ranks)
    source = ModelWeights(model, strategy.held["policy"])
    before, probe = listed(source), source.logprobs(TOKENS)
    strategy.forward("policy", [a_batch(1)])
    if trained:
        strategy.train_step("policy", [a_batch(1)] if strategy.rank == 0 else [a_batch(1, 0)], plain_loss)
    return before, probe, listed(source)


def listed(source: ModelWeights) -> Weights:
    return [(p.names, str(p.tensor.dtype), p.tensor.detach().float().numpy().copy()) for p in source.tensors()]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_engines_get_the_weights_of_one_process_out_of_shards(processes, tied: bool, bf16: bool, trained: bool) -> None:
    ((before, probe, after),) = processes(1).run(published, Whole, tied, bf16, trained)
    assert any("lm_head.weight" in names and len(names) == 2 for names, _, _ in before) == tied
    for hold in (FullyShard(), FullyShard(reshard_after_forward=False)):
        for theirs in processes(2).run(published, hold, tied, bf16, trained):
            assert [row[:2] for row in theirs[0]] == [row[:2] for row in before]
            assert all(numpy.array_equal(a, b) for (*_, a), (*_, b) in zip(theirs[0], before, strict=True))
            assert theirs[1] == pytest.approx(probe, abs=1e-5)
            for (*_, new), (*_, expected), (*_, old) in zip(theirs[2], after, before, strict=True):
                numpy.testing.assert_allclose(new, expected, atol=1e-2 if bf16 else 1e-5)
                assert numpy.array_equal(new, old) != trained


def names_of(family: str) -> list[tuple[str, ...]]:
    model = language_model(family)
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {}, hold=FullyShard(), ranks=TorchRanks())
    return [p.names for p in ModelWeights(model, strategy.held["policy"]).tensors()]


def test_ranks_whose_shards_are_empty_give_the_same_names_in_the_same_order(processes) -> None:
    names = processes(4).run(names_of, "Qwen3")
    assert names[0] == names[1] == names[2] == names[3]
    assert ("model.embed_tokens.weight", "lm_head.weight") in names[0]

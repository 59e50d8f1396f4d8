"""How fast a rank computes is measured without its waiting, and work is dealt by it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from lightrft_core import ALGORITHMS, BatchSizes, OneRank, Ranks
from lightrft_core.experience import make_experience
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import OptimiserConfig, TorchStrategy, Whole

from .pace_runs import SECONDS_A_TOKEN, slow_runs
from .recorded import Case, a_batch, build, language_model, plain_loss, recorded

CONFIG = OptimiserConfig(1e-2, 20)


@pytest.mark.usefixtures("one_thread")
def test_a_step_says_what_was_computed_and_how_long_it_took() -> None:
    strategy, algorithm = build(Case(dtype="float32")), ALGORITHMS["grpo"]
    (batches,), _ = make_experience(recorded(0), algorithm, strategy, BatchSizes(None, 3, 60, 8))
    start = time.perf_counter()
    report = strategy.train_step("policy", batches, algorithm.losses()["policy"])
    elapsed = time.perf_counter() - start
    ((work, seconds),) = report.paces
    assert work == sum(batch.work for batch in batches) > 0
    assert 0.02 * elapsed < seconds < elapsed
    assert strategy.imbalance() == {"time/imbalance": 1.0}
    assert strategy.imbalance() == {}, "nothing was computed since"
    strategy.forward("policy", batches)
    assert strategy.watches["policy"].take() == 0, "only learning is timed"


class Second(OneRank):
    """The second of two ranks that compute each row together: the first speaks for both."""

    rank, world_size = 1, 2


@pytest.mark.usefixtures("one_thread")
def test_a_rank_that_another_speaks_for_times_nothing_and_keeps_nothing() -> None:
    def hold(module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks) -> Whole:
        return Whole(module, config, dtype, OneRank())

    strategy = TorchStrategy({"policy": LanguageActor(language_model())}, {"policy": CONFIG}, hold=hold, ranks=Second())
    assert strategy.train_step("policy", [replace(a_batch(0), work=1.0)], plain_loss).paces == ()
    assert strategy.watches["policy"].spans == []


@pytest.mark.proof
@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_a_rank_of_half_the_speed_is_known_for_it_and_given_half_the_work(processes, hold: str) -> None:
    (imbalances, speeds, numbers), other = processes(2).run(slow_runs, hold)
    assert speeds == other[1], "all ranks know the same"
    assert numbers == other[2]
    ratio = SECONDS_A_TOKEN[1] / SECONDS_A_TOKEN[0]
    for fast, slow in speeds:
        assert fast / slow == pytest.approx(ratio, rel=0.2)
    assert imbalances[0] > 1.2, "equal work takes the slow rank twice as long: 2 / 1.5"
    assert max(imbalances[1:]) < 1.13

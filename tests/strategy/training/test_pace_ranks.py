"""How fast a rank computes is measured without its waiting, and work is dealt by it."""

from __future__ import annotations

import time

import pytest

from lightrft_core import ALGORITHMS, BatchSizes
from lightrft_core.experience import make_experience

from .pace_runs import SECONDS_A_TOKEN, slow_runs
from .recorded import Case, build, recorded


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

"""The moving average of weights, against the recursion in float64 on the recorded masters, however models are held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from lightrft_strategy.training import FullyShard, Hold, TorchStrategy, Whole
from lightrft_strategy.training.zero import Zero

from .average_runs import (
    BETA,
    CONFIG,
    Arrays,
    averaging,
    built,
    go,
    kept,
    module_weights,
    part,
    resuming,
    share,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOLDS: dict[str, Hold] = {
    "ddp": Whole,
    "fsdp2": FullyShard(),
    "fsdp2 kept": FullyShard(reshard_after_forward=False),
    "zero 1": Zero(1),
    "zero 2": Zero(2),
    "zero 3": Zero(3, persistence_threshold=500),
    "zero 3 offloaded": Zero(3, adam_offload=True),
}
PROVEN = [pytest.param(name, marks=pytest.mark.proof) for name in HOLDS if name != "fsdp2"]
FINE = {"within": True, "after": True, "average after": True}


def expected(masters: list[Arrays]) -> Arrays:
    """The recursion in float64; the fourth step was not taken."""
    average = {name: values.astype(numpy.float64) for name, values in masters[0].items()}
    for number, now in enumerate(masters[1:]):
        if number != 3:
            average = {name: BETA * value + (1 - BETA) * now[name] for name, value in average.items()}
    return average


def assert_average(masters: list[Arrays], found: Arrays) -> None:
    assert all(numpy.array_equal(masters[3][name], masters[4][name]) for name in found), "a skipped step moves nothing"
    for name, values in expected(masters).items():
        numpy.testing.assert_allclose(found[name], values, rtol=2e-6, atol=2e-7)
        assert not numpy.array_equal(found[name], masters[-1][name])


@pytest.mark.parametrize("bf16", [False, True])
def test_the_average_is_that_of_the_masters_after_each_step_that_was_taken(bf16: bool) -> None:
    masters, found, notes = averaging(Whole, bf16)
    assert found.keys() == masters[0].keys()
    assert_average(masters, found)
    assert notes == FINE


@pytest.mark.parametrize("hold", ["fsdp2", *PROVEN])
def test_shards_keep_the_same_average(processes, hold: str) -> None:
    for masters, found, notes in processes(2).run(averaging, HOLDS[hold], not hold.startswith("fsdp2")):
        assert_average(masters, found)
        assert notes == FINE


@pytest.mark.parametrize("hold", ["fsdp2", *PROVEN])
def test_a_resumed_run_has_the_bits_of_one_that_went_through(processes, tmp_path: Path, hold: str) -> None:
    assert processes(2).run(resuming, HOLDS[hold], tmp_path / "checkpoint") == [(True, True)] * 2


def test_one_process_resumes_with_the_same_bits(tmp_path: Path) -> None:
    assert resuming(Whole, tmp_path / "checkpoint") == (True, True)


@pytest.mark.proof
def test_the_average_goes_from_shards_to_one_process_to_deepspeed(processes, tmp_path: Path) -> None:
    _, whole, _ = averaging(Whole)
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    processes(2).run(part, FullyShard(), range(2), None, first)
    part(Whole, range(2, 4), first, second)
    for found in processes(2).run(part, Zero(3), range(4, 6), second, third):
        for name, values in whole.items():
            numpy.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hold", ["fsdp2", *PROVEN[1:]])
def test_a_rank_keeps_the_average_of_its_own_share(processes, hold: str) -> None:
    shares = processes(2).run(share, HOLDS[hold])
    assert max(shares) < 0.6
    assert sum(shares) == pytest.approx(1, abs=0.05)


def test_without_an_average_nothing_of_it_is_kept_or_saved(tiny_model) -> None:
    from lightrft_strategy.language import LanguageActor

    strategy: Any = TorchStrategy({"policy": LanguageActor(tiny_model())}, {"policy": CONFIG})
    assert not any(name.startswith("ema.") for name in strategy._state("policy"))


@torch.no_grad()
def test_it_begins_with_weights_that_are_filled_after_they_are_held() -> None:
    ours = built(Whole)
    for shard in ours.held["policy"].shards():
        shard += 1
    ours.held["policy"].publish()
    before = kept(ours, "master.")
    with torch.enable_grad():
        (after,) = go(ours, range(1))
    for name, values in kept(ours, "ema.").items():
        now = BETA * before[name].astype(numpy.float64) + (1 - BETA) * after[name]
        numpy.testing.assert_allclose(values, now, rtol=2e-6, atol=2e-7)


def test_a_model_has_its_own_weights_again_even_if_the_averaged_ones_could_not_be_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = built(Whole)
    go(ours, range(1))
    before, published = module_weights(ours), []

    def publish() -> None:
        published.append(True)
        if len(published) == 1:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(ours.held["policy"], "publish", publish)
    with pytest.raises(RuntimeError, match="out of memory"), ours.averages["policy"].in_place():
        raise AssertionError
    assert len(published) == 2
    assert all(torch.equal(weight, before[name]) for name, weight in module_weights(ours).items())

"""float16 with a loss scale: the run of float32 within its precision, and what too large a scale costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightrft_core import Metrics, OneRank, TrainingDiverged, collate
from lightrft_strategy.training import OptimiserConfig, TorchStrategy, Whole
from lightrft_strategy.training.scaling import FIRST, LARGEST, PATIENCE, SMALLEST, LossScale

from .float16_runs import FITTING, curve, overflowing, resuming, unscaled_gradients
from .recorded import Case

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = OptimiserConfig(1e-2, 20, max_norm=0)


def test_twenty_recorded_steps_follow_float32() -> None:
    exact, half = curve(Case("one", "float32")), curve(Case("one", "float32"), fp16=True)
    assert len(exact.losses) == 20
    for mine, theirs in zip(half.losses, exact.losses, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-2, nan_ok=True)
    for mine, theirs in zip(half.norms, exact.norms, strict=True):
        assert mine == pytest.approx(theirs, rel=0.03, nan_ok=True)
    assert half.losses != exact.losses, "float16 is not float32"


def test_the_unscaled_gradient_is_that_of_float32_and_does_not_depend_on_the_scale() -> None:
    exact = unscaled_gradients(None)
    gradients = {scale: unscaled_gradients(scale) for scale in (1, 2**6, 2**12)}
    for name, expected in exact.items():
        for found in gradients.values():
            assert (found[name] - expected).norm() < 1e-2 * expected.norm()


def small_gradient(scale: int) -> float:
    """The step's gradient of a weight whose loss has a slope of 1e-9, which float16 rounds to 0."""
    held = Whole(nn.Linear(1, 1, bias=False), CONFIG, torch.float16, OneRank())
    held.scale = float(scale)
    held.backward(held.working["weight"].float().sum() * 1e-9)
    return held.step(1e-2)[0]


def test_gradients_that_vanish_in_float16_live_on_with_a_scale() -> None:
    assert small_gradient(1) == 0
    assert small_gradient(FIRST) == pytest.approx(1e-9, rel=0.05)


def test_gradients_of_micro_batches_are_added_up_in_float32_before_they_are_unscaled() -> None:
    held = Whole(nn.Linear(1, 1, bias=False), CONFIG, torch.float16, OneRank())
    held.scale = 2.0**4
    for gradient in (1.0, *[2**-11] * 3):
        held.backward(held.working["weight"].float().sum() * gradient)
    assert held.step(0.0)[0] == 1 + 3 * 2**-11


def test_a_gradient_too_large_halves_the_scale_skips_the_step_and_the_run_goes_on() -> None:
    assert overflowing("one") == {
        "scales": [FITTING, FITTING, FITTING // 2, FITTING // 4, FITTING // 4],
        "overflowed": [False, True, True, False, False],
        "faults": [""] * 5,
        "unmoved": [False, True, True, False, False],
        "same": True,
    }


@pytest.mark.parametrize("hold", [pytest.param("ddp", marks=pytest.mark.proof), "fsdp2"])
def test_all_ranks_decide_alike_when_one_of_them_overflows(processes, hold: str) -> None:
    notes, other = processes(2).run(overflowing, hold)
    assert notes == other
    assert notes["overflowed"] == [False, True, True, False, False]
    assert notes["unmoved"] == [False, True, True, False, False]
    assert notes["same"]


def test_a_loss_that_is_not_finite_is_a_fault_and_leaves_the_scale_alone() -> None:
    strategy, _ = one_weight()
    report = strategy.train_step("policy", [BATCH], lambda out, batch: (out * float("nan"), Metrics()))
    assert (report.fault, report.overflowed) == ("the loss is nan in micro-batch 1 of 1", False)
    assert strategy.scales["policy"] == LossScale()


class Weight(nn.Module):
    """A number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.ones(1))

    def forward(self, batch: object) -> torch.Tensor:
        return self.number.float().sum() / 4


def one_weight(config: OptimiserConfig = CONFIG) -> tuple[TorchStrategy, Weight]:
    module = Weight()
    return TorchStrategy({"policy": module}, {"policy": config}, fp16=True), module


BATCH = collate([])


def test_a_run_whose_gradient_does_not_fit_at_any_scale_stops_and_says_what_to_do() -> None:
    strategy, module = one_weight()
    seen = []
    with pytest.raises(TrainingDiverged, match=r"the gradient of number is not finite in float16.*train with --bf16"):
        while True:
            report = strategy.train_step("policy", [BATCH], lambda out, batch: (out * 1e6, Metrics()))
            assert report.overflowed
            seen.append(report.loss_scale)
    assert seen == [2.0**power for power in range(16, 0, -1)]
    assert module.number.item() == 1


def test_the_learning_rate_is_that_of_the_attempt_and_adamw_counts_the_steps_that_were_taken() -> None:
    strategy, _ = one_weight(OptimiserConfig(1e-2, 4, "linear", max_norm=0))
    rates = []
    for factor in (1.0, 1e4, 1.0):
        report = strategy.train_step("policy", [BATCH], lambda out, batch, by=factor: (out * by, Metrics()))
        rates.append(report.learning_rate)
    assert rates == pytest.approx([1e-2, 7.5e-3, 5e-3])
    assert strategy.held["policy"].state()["adam.step.number"].item() == 2


def test_metrics_show_the_scale_and_the_overflows_but_no_fault() -> None:
    strategy, _ = one_weight()
    fine = strategy.train_step("policy", [BATCH], lambda out, batch: (out, Metrics())).summary("policy").result()
    assert (fine["optimiser/loss_scale"], fine["optimiser/overflow_share"], fine["policy/loss"]) == (FIRST, 0, 0.25)
    bad = strategy.train_step("policy", [BATCH], lambda out, batch: (out * 1e4, Metrics())).summary("policy").result()
    assert (bad["optimiser/loss_scale"], bad["optimiser/overflow_share"]) == (FIRST, 1)
    assert bad["optimiser/skipped_share"] == 0
    assert "policy/loss" not in bad and "optimiser/grad_norm" not in bad


@settings(max_examples=15)
@given(steps=st.integers(0, 3 * PATIENCE), start=st.integers(0, 24))
def test_the_scale_doubles_after_so_many_steps_in_a_row_up_to_its_bound(steps: int, start: int) -> None:
    scale = LossScale(2**start)
    for _ in range(steps):
        scale = scale.kept()
    assert scale == LossScale(min(2 ** (start + steps // PATIENCE), LARGEST), steps % PATIENCE)


@given(value=st.integers(1, 24), taken=st.integers(0, PATIENCE - 1))
def test_an_overflow_halves_the_scale_and_begins_to_count_anew(value: int, taken: int) -> None:
    assert LossScale(2**value, taken).lowered("") == LossScale(2 ** (value - 1))
    assert LossScale.of(LossScale(2**value, taken).counters()) == LossScale(2**value, taken)


def test_at_its_floor_the_scale_stops_the_run() -> None:
    with pytest.raises(TrainingDiverged, match="the gradient of w is not finite in float16, and the loss scale"):
        LossScale(SMALLEST, 7).lowered("the gradient of w is not finite")


def test_a_resumed_run_has_the_bits_of_one_that_went_through(tmp_path: Path) -> None:
    assert resuming("one", tmp_path) == (True, True, LossScale(FITTING // 2, 2))


@pytest.mark.proof
def test_so_it_has_in_shards(processes, tmp_path: Path) -> None:
    expected = (True, True, LossScale(FITTING // 2, 2))
    assert processes(2).run(resuming, "fsdp2", tmp_path / "checkpoint") == [expected] * 2


def test_a_checkpoint_goes_on_in_another_precision_and_the_scale_begins_anew(tmp_path: Path) -> None:
    half, full = one_weight()[0], TorchStrategy({"policy": Weight()}, {"policy": CONFIG})
    half.train_step("policy", [BATCH], lambda out, batch: (out, Metrics()))
    half.save(tmp_path / "half")
    full.load(tmp_path / "half")
    assert torch.equal(full.held["policy"].state()["master.number"], half.held["policy"].state()["master.number"])
    full.save(tmp_path / "full")
    half.load(tmp_path / "full")
    assert half.scales["policy"] == LossScale()
    assert half.train_step("policy", [BATCH], lambda out, batch: (out, Metrics())).fault == ""

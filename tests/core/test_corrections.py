"""Weights for the gap between sampler and trainer stay in bounds, whatever the engine says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightrft_core import (
    ALGORITHMS,
    ICEPOP,
    TIS,
    Batch,
    Correction,
    CorrectionLevel,
    CorrectionMode,
    Metrics,
    PolicyOutput,
)
from lightrft_core.corrections import LENGTH_BUCKETS, measure_gap

every_level = pytest.mark.parametrize("level", CorrectionLevel)
every_mode = pytest.mark.parametrize("mode", CorrectionMode)


def weights_of(correction: Correction, gaps: list[list[float]]) -> tuple[list[float], list[bool]]:
    old = torch.tensor([gap for row in gaps for gap in row], dtype=torch.float64)
    ids = torch.tensor([number for number, row in enumerate(gaps) for _ in row])
    weights, touched = correction.weights(old, torch.zeros_like(old), ids)
    return weights.tolist(), touched.tolist()


def test_truncated_importance_sampling_bounds_a_tokens_weight_from_above_alone() -> None:
    weights, touched = weights_of(TIS, [[math.log(1.5), math.log(3.0), math.log(1e-3)]])
    assert weights == pytest.approx([1.5, 2.0, 1e-3])
    assert touched == [False, True, False]


def test_icepop_takes_out_what_lies_out_of_bounds() -> None:
    weights, touched = weights_of(ICEPOP, [[math.log(1.5), math.log(6.0), math.log(0.4)]])
    assert weights == pytest.approx([1.5, 0.0, 0.0])
    assert touched == [False, True, True]


def test_a_sequences_weight_is_the_product_or_the_geometric_mean_of_its_tokens() -> None:
    gaps = [[math.log(1.2), math.log(1.5)], [math.log(0.8)]]
    product, _ = weights_of(Correction(CorrectionLevel.SEQUENCE, high=9.0), gaps)
    mean, _ = weights_of(Correction(CorrectionLevel.GEOMETRIC, high=9.0), gaps)
    assert product == pytest.approx([1.8, 1.8, 0.8])
    assert mean == pytest.approx([1.8**0.5, 1.8**0.5, 0.8])


@every_level
@every_mode
@given(
    gaps=st.lists(
        st.lists(st.sampled_from([-1e4, -100.0, -1.0, 0.0, 0.3, 100.0, 1e4]), min_size=1, max_size=4), min_size=1
    ),
    low=st.floats(0, 0.9),
    high=st.floats(1.1, 10),
)
def test_weights_are_finite_and_in_bounds_at_any_gap(
    level: CorrectionLevel, mode: CorrectionMode, gaps: list[list[float]], low: float, high: float
) -> None:
    weights, touched = weights_of(Correction(level, mode, low, high), gaps)
    for weight, out in zip(weights, touched, strict=True):
        assert math.isfinite(weight)
        assert low <= weight <= high or (weight == 0 and mode is CorrectionMode.MASK and out)


def batch_of(old: Tensor, rollout: Tensor, ids: Tensor) -> Batch:
    nothing = torch.zeros(1, 1, dtype=torch.long)
    ones = torch.ones_like(old)
    return Batch(nothing, nothing.bool(), nothing, nothing[0], nothing.bool(), ids, ones, ones, rollout, old)


@every_level
@every_mode
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_log_probability_of_minus_ten_thousand_leaves_loss_and_gradient_finite(
    level: CorrectionLevel, mode: CorrectionMode, sign: float
) -> None:
    old, rollout = torch.tensor([-1.0, -1.0, -2.0]), torch.tensor([-1.0, -1e4, -2.0])
    if sign < 0:
        old, rollout = rollout, old
    algorithm = replace(ALGORITHMS["dapo"], correction=Correction(level, mode, 0.5, 5.0))
    logprobs = old.clone().requires_grad_()
    batch = batch_of(old, rollout, torch.tensor([0, 0, 1]))
    loss, metrics = algorithm.loss(PolicyOutput(logprobs, torch.zeros(3)), batch)
    loss.backward()
    assert loss.isfinite()
    assert logprobs.grad.isfinite().all()
    assert logprobs.grad[2] == -1, "the other answer is as it was"
    assert all(map(math.isfinite, metrics.result().values()))


def test_a_weight_multiplies_the_objective_and_has_no_gradient_of_its_own() -> None:
    old, rollout = torch.tensor([-1.0, -1.0]), torch.tensor([-1.0 - math.log(1.5), -1.0 - math.log(9.0)])
    for correction, expected in ((None, [-1, -1]), (TIS, [-1.5, -2.0]), (ICEPOP, [-1.5, 0.0])):
        logprobs = old.clone().requires_grad_()
        algorithm = replace(ALGORITHMS["dapo"], correction=correction)
        loss, _ = algorithm.loss(
            PolicyOutput(logprobs, torch.zeros(2)), batch_of(old, rollout, torch.zeros(2, dtype=torch.long))
        )
        loss.backward()
        assert logprobs.grad.tolist() == pytest.approx(expected)


def test_a_correction_leaves_the_divergence_from_the_reference_alone() -> None:
    old, rollout = torch.tensor([-1.0]), torch.tensor([-9.0])
    algorithm = replace(ALGORITHMS["grpo"], kl_estimator="k2", kl_coef=1.0, correction=ICEPOP)
    logprobs = old.clone().requires_grad_()
    batch = batch_of(old, rollout, torch.zeros(1, dtype=torch.long))
    batch.reference_logprobs = torch.tensor([-3.0])
    algorithm.loss(PolicyOutput(logprobs, torch.zeros(1)), batch)[0].backward()
    assert logprobs.grad.tolist() == [2.0]


def test_the_gap_is_measured_whether_or_not_it_is_corrected() -> None:
    old, rollout = torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0])
    batch = batch_of(old, rollout, torch.zeros(2, dtype=torch.long))
    numbers = ALGORITHMS["dapo"].loss(PolicyOutput(old, torch.zeros(2)), batch)[1].result()
    assert numbers["engine/logprob_gap_mean"] == pytest.approx(0.5)
    assert numbers["engine/logprob_gap_max"] == pytest.approx(1.0)
    assert numbers["engine/weight_mean"] == pytest.approx((1 + math.e) / 2)
    assert numbers["engine/weight_max"] == pytest.approx(math.e)
    assert numbers["engine/weight_touched_share"] == 0.5, "above the bound of truncated importance sampling"
    assert numbers["engine/weight_effective_share"] == pytest.approx((1 + math.e) ** 2 / (2 * (1 + math.e**2)))


def test_gaps_are_told_apart_by_the_length_of_the_answer() -> None:
    short, long = LENGTH_BUCKETS[0], LENGTH_BUCKETS[0] + 1
    old = torch.cat([torch.full((short,), 0.1), torch.full((long,), 0.3)])
    ids = torch.cat([torch.zeros(short), torch.ones(long)]).long()
    metrics = Metrics()
    measure_gap(old, torch.zeros_like(old), ids, torch.zeros_like(old, dtype=torch.bool), metrics)
    by_length = {name: value for name, value in metrics.result().items() if "upto" in name or "above" in name}
    assert by_length == pytest.approx({"engine/logprob_gap_upto_128": 0.1, "engine/logprob_gap_upto_512": 0.3})


def test_the_gap_of_whole_answers_adds_up_what_their_tokens_say() -> None:
    gaps = [[0.25, -0.125], [0.5, 0.5, 0.5], [-0.25]]
    metrics = Metrics()
    old = torch.tensor([gap for row in gaps for gap in row])
    ids = torch.tensor([0, 0, 2, 2, 2, 5])
    measure_gap(old, torch.zeros_like(old), ids, torch.zeros(len(old), dtype=torch.bool), metrics)
    assert metrics.result()["engine/sequence_gap_mean"] == pytest.approx((0.125 + 1.5 + 0.25) / 3)
    assert metrics.result()["engine/sequence_gap_max"] == pytest.approx(1.5)

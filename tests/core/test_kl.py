"""KL estimators against their definitions, near the reference and far from it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import KL_ESTIMATORS, AdaptiveKL, drift, k3
from lightrft_core.kl import with_unbiased_gradient

DEFINITIONS = {
    "k1": (lambda d: d, lambda d: 1.0),
    "k2": (lambda d: d * d / 2, lambda d: d),
    "k3": (lambda d: math.exp(-d) - 1 + d, lambda d: 1 - math.exp(-d)),
}
"""Value and derivative as functions of d = log pi - log ref."""


def value_and_gradient(name: str, logprob: float, reference: float) -> tuple[float, float]:
    policy = torch.tensor([logprob], dtype=torch.float64, requires_grad=True)
    value = KL_ESTIMATORS[name](policy, torch.tensor([reference], dtype=torch.float64))
    value.sum().backward()
    return value.item(), policy.grad.item()


def test_every_estimator_has_a_definition_here() -> None:
    assert KL_ESTIMATORS.keys() == DEFINITIONS.keys()


@pytest.mark.parametrize("name", DEFINITIONS)
@given(logprob=st.floats(-15, 0), reference=st.floats(-15, 0))
def test_an_estimator_and_its_gradient_are_their_definitions(name: str, logprob: float, reference: float) -> None:
    value, gradient = DEFINITIONS[name]
    difference = logprob - reference
    expected = (value(difference), gradient(difference))
    assert value_and_gradient(name, logprob, reference) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.one_of(st.floats(-200, 200), st.floats(-1e-3, 1e-3)))
def test_k3_is_never_negative_beyond_the_rounding_of_its_difference(difference: float) -> None:
    assert k3(torch.tensor([difference]), torch.zeros(1)).item() >= -2e-7 * abs(difference)


@given(st.floats(1e-4, 1e-2))
def test_k3_keeps_its_digits_close_to_the_reference(difference: float) -> None:
    value = k3(torch.tensor([-difference], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)).item()
    assert value == pytest.approx(difference**2 / 2 + difference**3 / 6, rel=1e-4)
    assert k3(torch.tensor([-difference]), torch.zeros(1)).item() == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("difference", [-1000.0, -100.0, -20.001, 20.001, 100.0])
def test_far_from_the_reference_the_divergence_is_finite_and_its_gradient_pulls_back(
    name: str, difference: float
) -> None:
    policy = torch.tensor([difference], requires_grad=True)
    value = KL_ESTIMATORS[name](policy, torch.zeros(1))
    value.sum().backward()
    assert value.isfinite().all()
    assert policy.grad.isfinite().all()
    if name == "k1":
        assert policy.grad.item() == 1
    else:
        assert math.copysign(1, policy.grad.item()) == math.copysign(1, difference)


@given(st.floats(15, 25), st.floats(15, 25))
def test_k3_falls_towards_the_reference_without_a_jump_where_its_exponential_is_bounded(a: float, b: float) -> None:
    low, high = sorted((a, b))
    values = k3(torch.tensor([-high, -low], dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    steepest = math.exp(20)
    assert 0 <= (values[0] - values[1]).item() <= (high - low) * steepest + 1e-6


@pytest.mark.parametrize("name", DEFINITIONS)
@given(difference=st.floats(-100, 100))
def test_the_unbiased_form_keeps_the_value_and_has_the_gradient_of_k2(name: str, difference: float) -> None:
    policy, reference = torch.tensor([difference], dtype=torch.float64, requires_grad=True), torch.zeros(1).double()
    value = KL_ESTIMATORS[name](policy, reference)
    unbiased = with_unbiased_gradient(value, policy, reference)
    unbiased.sum().backward()
    assert unbiased.item() == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
    assert policy.grad.item() == pytest.approx(difference, rel=1e-12)


def test_the_unbiased_gradient_is_that_of_the_divergence_itself() -> None:
    logits = torch.tensor([0.3, -1.0, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.0, 0.5, -0.5, 1.0], dtype=torch.float64).log_softmax(0)
    law = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((law.exp() * (law - reference)).sum(), logits, retain_graph=True)
    estimates = {}
    for name, estimator in KL_ESTIMATORS.items():
        value = with_unbiased_gradient(estimator(law, reference), law, reference)
        (estimates[name],) = torch.autograd.grad((law.exp().detach() * value).sum(), logits, retain_graph=True)
        assert estimates[name].tolist() == pytest.approx(exact.tolist(), rel=1e-9, abs=1e-12)
    (plain,) = torch.autograd.grad((law.exp().detach() * k3(law, reference)).sum(), logits)
    assert (plain - exact).abs().max() > 0.01, "as a loss, k3 pulls elsewhere"


@given(st.floats(-100, 100), st.floats(0.01, 2))
def test_drift_is_a_divergence_whose_pull_is_bounded(difference: float, bound: float) -> None:
    policy = torch.tensor([difference], dtype=torch.float64, requires_grad=True)
    value = drift(policy, torch.zeros(1).double(), bound)
    value.sum().backward()
    assert value.isfinite().all()
    assert value.item() >= 0
    if abs(difference) <= 20:
        assert value.item() == pytest.approx(math.exp(difference) - 1 - difference, rel=1e-9, abs=1e-12)
    expected = bound if difference > 20 else min(math.exp(difference) - 1, bound)
    assert policy.grad.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.floats(1e-4, 1), st.floats(0.01, 5), st.floats(0, 50), st.integers(1, 10000))
def test_the_coefficient_grows_above_the_target_falls_below_it_and_by_a_fifth_at_most(
    coefficient: float, target: float, measured: float, samples: int
) -> None:
    steered = AdaptiveKL(target).update(coefficient, measured, samples)
    assert 0.8 * coefficient <= steered * (1 + 1e-12)
    assert steered <= 1.2 * coefficient * (1 + 1e-12)
    assert (steered > coefficient) <= (measured > target)
    assert (steered < coefficient) <= (measured < target)


def test_at_the_target_the_coefficient_stays() -> None:
    assert AdaptiveKL(0.3).update(0.05, 0.3, 512) == 0.05
    assert AdaptiveKL(0.3, horizon=1000).update(0.05, 0.33, 500) == pytest.approx(0.05 * 1.05)


def test_a_hundred_nats_below_the_reference_k3_pulls_as_hard_as_at_twenty() -> None:
    policy = torch.tensor([-100.0, -20.0], dtype=torch.float64, requires_grad=True)
    value = k3(policy, torch.zeros(2).double())
    value.sum().backward()
    edge = math.exp(20)
    assert value.tolist() == pytest.approx([edge - 1 + 80 * edge - 100, edge - 1 - 20], rel=1e-12)
    assert policy.grad.tolist() == pytest.approx([1 - edge, 1 - edge], rel=1e-12)

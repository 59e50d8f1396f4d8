"""Each loss against its paper's probabilities, worked out independently in float64 without logarithms."""

from __future__ import annotations

from itertools import permutations
from math import exp, log, sqrt
from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards.models import losses
from lightrft_rewards.models.contest_losses import LOSSES, LossOptions, Scores

REWARD = st.floats(-6, 6)


def of(number: float) -> torch.Tensor:
    return torch.tensor([number], dtype=torch.float64)


def sigma(gap: float) -> float:
    return 1 / (1 + exp(-gap))


@given(better=REWARD, worse=REWARD, margin=st.floats(0, 2), smoothing=st.floats(0, 0.4))
def test_bradley_terry_is_minus_log_of_the_share_of_the_strengths(
    better: float, worse: float, margin: float, smoothing: float
) -> None:
    right = exp(better) / (exp(better) + exp(worse + margin))
    expected = -(1 - smoothing) * log(right) - smoothing * log(1 - right)
    found = losses.bradley_terry(of(better), of(worse), margin=margin, label_smoothing=smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(better=REWARD, worse=REWARD)
def test_log_exp_and_hps_are_bradley_terry_without_its_options(better: float, worse: float) -> None:
    plain = float(losses.bradley_terry(of(better), of(worse)))
    assert float(losses.log_exp(of(better), of(worse))) == pytest.approx(plain, abs=1e-12)
    assert float(losses.hps(of(better), of(worse), of(1.0))) == pytest.approx(plain, abs=1e-12)


@given(one=REWARD, other=REWARD, preference=st.sampled_from([0.0, 0.5, 1.0, 0.8]), temperature=st.floats(0.5, 3))
def test_hps_is_the_cross_entropy_of_a_softmax_of_two(
    one: float, other: float, preference: float, temperature: float
) -> None:
    first, second = exp(one / temperature), exp(other / temperature)
    expected = -preference * log(first / (first + second)) - (1 - preference) * log(second / (first + second))
    found = losses.hps(of(one), of(other), of(preference), temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(gap=st.floats(-8, 8), spreads=st.tuples(st.floats(-8, 4), st.floats(-8, 4)))
def test_the_uncertain_loss_is_the_expected_preference_of_two_gaussians(
    gap: float, spreads: tuple[float, float]
) -> None:
    """By 20,001 quantiles of the difference, which is Gaussian: another rule than the loss's own."""
    deviation = sqrt(exp(spreads[0]) + exp(spreads[1]))
    count = 20_001
    normal = NormalDist()
    draws = torch.tensor([normal.inv_cdf((place + 0.5) / count) for place in range(count)], dtype=torch.float64)
    expected = -float((gap + deviation * draws).sigmoid().mean().log())
    found = losses.uncertainty(of(gap), of(0.0), of(spreads[0]), of(spreads[1]))
    assert float(found) == pytest.approx(expected, rel=2e-3)


def test_the_uncertain_loss_of_certain_rewards_is_bradley_terry() -> None:
    gaps = torch.linspace(-20, 20, 41, dtype=torch.float64)
    sure = torch.full_like(gaps, -1e9)
    found = losses.uncertainty(gaps, torch.zeros_like(gaps), sure, sure)
    torch.testing.assert_close(found, losses.bradley_terry(gaps, torch.zeros_like(gaps)), rtol=1e-3, atol=1e-3)


@given(one=REWARD, other=REWARD, share=st.floats(0.05, 0.9))
def test_davidson_and_rao_kupper_are_their_papers_laws(one: float, other: float, share: float) -> None:
    first, second = exp(one), exp(other)
    nu, theta = 2 * share / (1 - share), (1 + share) / (1 - share)
    total = first + second + nu * sqrt(first * second)
    laws = {
        losses.davidson: (first / total, nu * sqrt(first * second) / total),
        losses.rao_kupper: (
            first / (first + theta * second),
            (theta**2 - 1) * first * second / ((first + theta * second) * (theta * first + second)),
        ),
    }
    for loss, (win, tie) in laws.items():
        for outcome, probability in ((False, win), (True, tie)):
            found = loss(of(one), of(other), torch.tensor([outcome]), tie_share=share)
            assert float(found) == pytest.approx(-log(probability), rel=1e-9, abs=1e-9)
        mirrored = float(loss(of(other), of(one), torch.tensor([False]), tie_share=share))
        assert win + tie + exp(-mirrored) == pytest.approx(1, abs=1e-12)
    equal = losses.davidson(of(one), of(one), torch.tensor([True]), tie_share=share)
    assert exp(-float(equal)) == pytest.approx(share)


def test_plackett_luce_is_a_law_of_orders() -> None:
    rewards = torch.tensor([0.3, -1.2, 2.0, 0.9], dtype=torch.float64)
    contest, total = torch.zeros(4), 0.0
    for order in permutations(range(4)):
        labels = torch.tensor([-float(order.index(answer)) for answer in range(4)])
        expected, left = 0.0, list(order)
        for answer in order:
            expected -= log(exp(rewards[answer]) / sum(exp(rewards[other]) for other in left))
            left.remove(answer)
        found = float(losses.plackett_luce(rewards, labels, contest).sum())
        assert found == pytest.approx(expected, abs=1e-12)
        total += exp(-found)
    assert total == pytest.approx(1)


def test_plackett_luce_knows_ties_and_other_contests() -> None:
    rewards = torch.tensor([1.0, 0.5, -0.5, 9.0], dtype=torch.float64)
    labels, contest = torch.tensor([2.0, 2.0, 1.0, 1.5]), torch.tensor([0, 0, 0, 1])
    top = log(exp(1.0) + exp(0.5) + exp(-0.5))
    expected = torch.tensor([top - 1.0, top - 0.5, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(losses.plackett_luce(rewards, labels, contest), expected)


def test_regression_is_squared_and_beyond_delta_linear() -> None:
    rewards, labels = of(1.0).expand(3), torch.tensor([1.0, 0.5, -3.0], dtype=torch.float64)
    assert losses.regression(rewards, labels).tolist() == [0.0, 0.25, 16.0]
    assert losses.regression(rewards, labels, huber_delta=1.0).tolist() == [0.0, 0.125, 3.5]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_are_finite_far_out(name: str) -> None:
    means = torch.tensor([3e4, -3e4, 3e4, 0.0], requires_grad=True)
    spread = torch.tensor([90.0, -90.0, 0.0, 90.0], requires_grad=True)
    labels = torch.tensor([-1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    losses_found, _ = LossOptions(name).terms(Scores(means, spread, labels, torch.tensor([0, 0, 0, 0])))
    assert losses_found.isfinite().all()
    losses_found.sum().backward()
    assert means.grad is not None and means.grad.isfinite().all() and means.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": "nll"}, "there are bradley_terry"),
        ({"name": "hps", "margin": 0.1}, "margin 0.1 is for the loss bradley_terry, not for hps"),
        ({"label_smoothing": 0.5}, "label_smoothing 0.5 cannot be"),
        ({"name": "davidson", "tie_share": 1.0}, "tie_share 1.0 cannot be"),
        ({"name": "hps", "temperature": 0.0}, "temperature 0.0 cannot be"),
        ({"name": "regression", "huber_delta": -1.0}, "huber_delta -1.0 cannot be"),
    ],
)
def test_options_that_cannot_be_are_refused(settings, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        LossOptions(**settings)


def test_what_there_is_to_learn_from_labels() -> None:
    teaches = {name: LossOptions(name).teaches for name in LOSSES}
    alone = ["regression", "cross_entropy"]
    assert [name for name in LOSSES if teaches[name]((1.0, 1.0))] == ["hps", "davidson", "rao_kupper", *alone]
    assert [name for name in LOSSES if teaches[name]((1.0,))] == alone
    assert all(teach((1.0, 0.0)) for teach in teaches.values())
    assert not any(teach(()) for teach in teaches.values())

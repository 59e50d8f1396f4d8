"""The pieces that no row turns on, or not in every form, against the same references."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from comparison import close, flat
from core_step import groups_of, learn, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from references import advantages as papers
from references import corrections, kl, shaping
from references.case import Case, random_case
from references.number import STEP
from references.rows import ROWS

from lightrft_core import (
    ADVANTAGE_ESTIMATORS,
    ALGORITHMS,
    KL_ESTIMATORS,
    AdaptiveKL,
    Bounds,
    Correction,
    CorrectionLevel,
    CorrectionMode,
    majority_vote,
    overlong_penalty,
)

pytestmark = pytest.mark.usefixtures("one_thread")

cases = st.builds(
    random_case,
    st.integers(0, 2**32).map(random.Random),
    groups=st.integers(1, 4),
    n=st.integers(1, 5),
    max_length=st.integers(1, 6),
    spread=st.sampled_from([0.1, 1.0]),
)
BASELINES = {
    "group_norm": papers.group_norm,
    "dr_grpo": papers.group_mean,
    "rloo": papers.leave_one_out,
    "cpgd": papers.cpgd,
    "cpgd_filter": lambda rewards: papers.cpgd(rewards, "useful_share"),
    "return": papers.raw_return,
    "batch_mean": papers.batch_mean,
    "reinforce": papers.raw_return,
    "reinforce_baseline": papers.group_mean,
    "gae": papers.raw_return,
}


def test_every_estimator_has_a_reference() -> None:
    assert ADVANTAGE_ESTIMATORS.keys() == BASELINES.keys()


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=25)
@given(case=cases)
def test_a_baseline_is_its_papers(name: str, case: Case) -> None:
    known = [[rollout.reward for rollout in group.rollouts] for group in groups_of(case)[0]]
    rewards = torch.tensor([[reward or 0.0 for reward in row] for row in known], dtype=torch.float64)
    valid = torch.tensor([[reward is not None for reward in row] for row in known])
    result = ADVANTAGE_ESTIMATORS[name].baseline(rewards, valid)
    assert result[~valid].eq(0).all()
    assert result[valid].tolist() == close(BASELINES[name](papers.rewards_of(case)))


@settings(max_examples=25)
@given(case=cases, gamma=st.floats(0, 1), lambd=st.floats(0, 1), beta=st.floats(0, 1))
def test_gae_is_the_papers_at_every_discount_and_decay(case: Case, gamma: float, lambd: float, beta: float) -> None:
    row = replace(ROWS["ppo"], gamma=gamma, lam=lambd, kl_coef=beta)
    learnt = learn(case, replace(ALGORITHMS["ppo"], gamma=gamma, lambd=lambd, kl_coef=beta))
    assert flat(learnt.advantages) == close(row.advantages(case))
    assert flat(learnt.returns) == close(row.returns(case))


@settings(max_examples=25)
@given(case=cases, gamma=st.floats(0, 1), beta=st.floats(0, 1))
def test_returns_to_go_are_the_papers_at_every_discount(case: Case, gamma: float, beta: float) -> None:
    row = replace(ROWS["reinforce_pp"], gamma=gamma, kl_coef=beta)
    learnt = learn(case, replace(ALGORITHMS["reinforce_pp"], gamma=gamma, kl_coef=beta))
    assert flat(learnt.advantages) == close(row.advantages(case))


@settings(max_examples=25)
@given(case=cases, bounds=st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 2.0), st.floats(1.01, 5.0)))
def test_dual_clip_is_its_papers(case: Case, bounds: tuple[float, float, float]) -> None:
    low, high, dual = bounds
    row = replace(ROWS["dapo"], clip_low=low, clip_high=high, dual_clip=dual)
    learnt = learn(case, replace(ALGORITHMS["dapo"], bounds=Bounds(low, high, dual)))
    assert [learnt.loss] == close([row.loss(case)])
    assert flat(learnt.gradient) == close(row.gradient(case))


@pytest.mark.parametrize("share", [0.05, 0.28, 0.5])
@settings(max_examples=15)
@given(case=cases)
def test_the_most_uncertain_tokens_are_the_papers_at_every_share(share: float, case: Case) -> None:
    row, algorithm = replace(ROWS["high_entropy"], entropy_share=share), ALGORITHMS["high_entropy"]
    learnt = learn(case, replace(algorithm, high_entropy_share=share))
    assert [learnt.loss] == close([row.loss(case)])
    assert flat(learnt.gradient) == close(row.gradient(case))


log_gaps = st.lists(st.floats(-12, 12), min_size=1, max_size=8)


@pytest.mark.parametrize("level", CorrectionLevel)
@pytest.mark.parametrize("mode", CorrectionMode)
@settings(max_examples=25)
@given(gaps=st.lists(log_gaps, min_size=1, max_size=4), low=st.floats(0, 0.99), high=st.floats(1, 8))
def test_correction_weights_are_the_references(
    level: CorrectionLevel, mode: CorrectionMode, gaps: list[list[float]], low: float, high: float
) -> None:
    old = [[-13.0] * len(row) for row in gaps]
    rollout = [[-13.0 - gap for gap in row] for row in gaps]
    ids = torch.tensor([number for number, row in enumerate(gaps) for _ in row])
    weights, touched = Correction(level, mode, low, high).weights(numbers(flat(old)), numbers(flat(rollout)), ids)
    limits = {"level": level.value, "mode": mode.value, "low": low, "high": high}
    expected = [corrections.weights(mine, theirs, **limits) for mine, theirs in zip(old, rollout, strict=True)]
    raw = [corrections.ratios(mine, theirs, level.value) for mine, theirs in zip(old, rollout, strict=True)]
    clear = [min(abs(ratio - low), abs(ratio - high)) > 1e-9 for ratio in flat(raw)]
    pairs = zip(weights.tolist(), flat(expected), clear, strict=True)
    assert all(weight == pytest.approx(wanted, rel=1e-10) for weight, wanted, sure in pairs if sure)
    outside = [not low <= ratio <= high for ratio in flat(raw)]
    assert all(a == b for a, b, sure in zip(touched.tolist(), outside, clear, strict=True) if sure)


@pytest.mark.parametrize("name", KL_ESTIMATORS)
@given(difference=st.floats(-19.9, 100))
def test_a_divergence_and_its_gradient_are_the_references(name: str, difference: float) -> None:
    logprobs = numbers([difference - 120]).requires_grad_()
    value = KL_ESTIMATORS[name](logprobs, numbers([-120.0]))
    value.sum().backward()
    expected = kl.ESTIMATORS[name](complex(difference - 120, STEP), -120.0)
    assert value.item() == pytest.approx(expected.real, rel=1e-10, abs=1e-12)
    assert logprobs.grad.item() == pytest.approx(expected.imag / STEP, rel=1e-10, abs=1e-12)


@given(
    beta=st.floats(1e-4, 1),
    measured=st.floats(0, 10),
    target=st.floats(0.01, 5),
    samples=st.integers(1, 4096),
    horizon=st.floats(5000, 20000),
)
def test_the_adaptive_coefficient_is_the_papers(
    beta: float, measured: float, target: float, samples: int, horizon: float
) -> None:
    expected = kl.adapted_coefficient(beta, measured, target=target, count=samples, horizon=horizon)
    assert AdaptiveKL(target, horizon).update(beta, measured, samples) == pytest.approx(expected, rel=1e-12)


@given(length=st.integers(0, 60), max_length=st.integers(10, 50), share=st.floats(0.05, 1))
def test_the_overlong_penalty_is_the_papers(length: int, max_length: int, share: float) -> None:
    cache = max(1, int(share * max_length))
    expected = shaping.overlong_penalty(length, max_length=max_length, cache=cache)
    assert overlong_penalty(length, max_length, cache) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.sampled_from([None, "1", "2", "3"]), max_size=9))
def test_the_majoritys_answer_is_the_papers(answers: list[str | None]) -> None:
    assert majority_vote(answers) == shaping.majority_answer(answers)

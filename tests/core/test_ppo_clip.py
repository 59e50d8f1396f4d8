"""PPO's clipped surrogate against a literal loop over its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import ppo_clip

tokens = st.lists(st.tuples(st.floats(-12, 0), st.floats(-12, 0), st.floats(-5, 5)), min_size=1, max_size=30)
clips = st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 3))


def surrogate(
    rows: list[tuple[float, float, float]], low: float, high: float
) -> tuple[list[float], list[bool], list[float]]:
    """(objective, clipped, gradient with respect to the log-probabilities)."""
    logprobs, old, advantages = torch.tensor(rows, dtype=torch.float64).T
    logprobs = logprobs.clone().requires_grad_()
    objective, clipped = ppo_clip(logprobs, old, advantages, clip_low=low, clip_high=high)
    objective.sum().backward()
    return objective.tolist(), clipped.tolist(), logprobs.grad.tolist()


@given(tokens, clips)
def test_the_objective_is_the_minimum_of_the_free_and_the_bounded_ratio(rows, clip) -> None:
    low, high = clip
    expected = []
    for logprob, old, advantage in rows:
        ratio = math.exp(logprob - old)
        bounded = min(max(ratio, 1 - low), 1 + high)
        expected.append(min(ratio * advantage, bounded * advantage))
    assert surrogate(rows, low, high)[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(tokens, clips)
def test_the_gradient_is_zero_exactly_where_the_bound_took_it_away(rows, clip) -> None:
    low, high = clip
    _, clipped, gradients = surrogate(rows, low, high)
    for (logprob, old, advantage), was_clipped, gradient in zip(rows, clipped, gradients, strict=True):
        ratio = math.exp(logprob - old)
        too_far = (advantage > 0 and ratio > 1 + high) or (advantage < 0 and ratio < 1 - low)
        near_the_edge = min(abs(ratio - 1 - high), abs(ratio - 1 + low)) < 1e-9
        if not near_the_edge and abs(advantage) > 1e-9:
            assert was_clipped == too_far
            assert gradient == pytest.approx(0 if too_far else ratio * advantage, rel=1e-9)
            assert (gradient == 0) == was_clipped


def test_the_two_bounds_are_independent() -> None:
    rows = [(math.log(1.25), 0.0, 1.0), (math.log(1.35), 0.0, 1.0), (math.log(0.85), 0.0, -1.0)]
    assert surrogate(rows, 0.2, 0.28)[1] == [False, True, False]
    assert surrogate(rows, 0.1, 0.28)[1] == [False, True, True]
    assert surrogate(rows, 0.2, 0.4)[1] == [False, False, False]


@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-5, 5)), min_size=1, max_size=20))
def test_on_policy_the_gradient_is_that_of_reinforce(rows: list[tuple[float, float]]) -> None:
    objective, clipped, gradients = surrogate([(logprob, logprob, a) for logprob, a in rows], 0.2, 0.2)
    assert objective == gradients == [a for _, a in rows]
    assert not any(clipped)


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("difference", [-1000.0, 1000.0])
def test_an_absurd_ratio_gives_finite_numbers(difference: float, advantage: float) -> None:
    objective, _, gradients = surrogate([(difference, 0.0, advantage)], 0.2, 0.2)
    assert math.isfinite(objective[0])
    assert math.isfinite(gradients[0])

"""Policy objectives and the critic's loss against literal loops over their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import Bounds, Tokens, cispo, cpgd, gmpo, gspo, gspo_token, policy_gradient, ppo_clip
from lightrft_core.objectives import Objective, value_clip_loss

Row = tuple[float, float, float]
"""Log-probability, old log-probability, advantage."""
rows_of_tokens = st.lists(st.tuples(st.floats(-12, 0), st.floats(-12, 0), st.floats(-5, 5)), min_size=1, max_size=30)
clips = st.builds(Bounds, st.floats(0.01, 0.9), st.floats(0.01, 3))
PAPER = Bounds(0.2, 0.2)


def raised(
    objective: Objective, answers: list[list[Row]], bounds: Bounds = PAPER
) -> tuple[list[float], list[bool], list[float]]:
    """(objective, clipped, gradient of the sum with respect to the log-probabilities) of the answers' tokens."""
    logprobs, old, advantages = torch.tensor([row for rows in answers for row in rows], dtype=torch.float64).T
    logprobs = logprobs.clone().requires_grad_()
    ids = torch.tensor([number for number, rows in enumerate(answers) for _ in rows])
    values, clipped = objective(Tokens(logprobs, old, advantages, ids), bounds)
    values.sum().backward()
    assert logprobs.grad is not None
    return values.tolist(), clipped.tolist(), logprobs.grad.tolist()


@given(rows_of_tokens, clips)
def test_ppo_takes_the_minimum_of_the_free_and_the_bounded_ratio(rows: list[Row], clip: Bounds) -> None:
    expected = []
    for logprob, old, advantage in rows:
        ratio = math.exp(logprob - old)
        bounded = min(max(ratio, 1 - clip.low), 1 + clip.high)
        expected.append(min(ratio * advantage, bounded * advantage))
    assert raised(ppo_clip, [rows], clip)[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(rows_of_tokens, clips)
def test_ppos_gradient_is_zero_exactly_where_the_bound_took_it_away(rows: list[Row], clip: Bounds) -> None:
    _, clipped, gradients = raised(ppo_clip, [rows], clip)
    for (logprob, old, advantage), was_clipped, gradient in zip(rows, clipped, gradients, strict=True):
        ratio = math.exp(logprob - old)
        too_far = (advantage > 0 and ratio > 1 + clip.high) or (advantage < 0 and ratio < 1 - clip.low)
        near_the_edge = min(abs(ratio - 1 - clip.high), abs(ratio - 1 + clip.low)) < 1e-9
        if not near_the_edge and abs(advantage) > 1e-9:
            assert was_clipped == too_far
            assert gradient == pytest.approx(0 if too_far else ratio * advantage, rel=1e-9)
            assert (gradient == 0) == was_clipped


def test_ppos_two_bounds_are_independent() -> None:
    rows = [(math.log(1.25), 0.0, 1.0), (math.log(1.35), 0.0, 1.0), (math.log(0.85), 0.0, -1.0)]
    assert raised(ppo_clip, [rows], Bounds(0.2, 0.28))[1] == [False, True, False]
    assert raised(ppo_clip, [rows], Bounds(0.1, 0.28))[1] == [False, True, True]
    assert raised(ppo_clip, [rows], Bounds(0.2, 0.4))[1] == [False, False, False]


@pytest.mark.parametrize("objective", [ppo_clip, gspo_token, cispo, cpgd, policy_gradient])
@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-5, 5)), min_size=1, max_size=20))
def test_on_policy_the_gradient_is_that_of_reinforce(objective: Objective, rows: list[tuple[float, float]]) -> None:
    bounds = Bounds(1.0, 4.0) if objective is cispo else PAPER
    _, clipped, gradients = raised(objective, [[(logprob, logprob, a) for logprob, a in rows]], bounds)
    assert gradients == [a for _, a in rows]
    assert not any(clipped)


@pytest.mark.parametrize("objective", [gspo, gmpo])
def test_on_policy_a_sequences_ratio_spreads_its_gradient_over_the_answer(objective: Objective) -> None:
    answers = [[(-1.0, -1.0, 2.0), (-3.0, -3.0, 2.0)], [(-2.0, -2.0, -1.0)]]
    values, clipped, gradients = raised(objective, answers)
    assert values == gradients == [2.0, 2.0, -1.0]
    assert not any(clipped)


@given(st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=8), st.floats(-3, 3))
def test_gspos_gradient_is_the_closed_form_of_its_paper(log_ratios: list[float], advantage: float) -> None:
    ratio = math.exp(math.fsum(log_ratios) / len(log_ratios))
    values, _, gradients = raised(gspo, [[(d - 9, -9.0, advantage) for d in log_ratios]], Bounds(0.9, 9.0))
    assert values == pytest.approx([ratio * advantage] * len(log_ratios))
    assert gradients == pytest.approx([ratio * advantage] * len(log_ratios))


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=8), st.floats(-3, 3))
def test_with_equal_advantages_both_forms_of_gspo_are_one(log_ratios: list[float], advantage: float) -> None:
    rows = [(d - 9, -9.0, advantage) for d in log_ratios]
    for got, expected in zip(raised(gspo_token, [rows]), raised(gspo, [rows]), strict=True):
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_gmpo_bounds_a_log_ratio_only_on_the_side_that_would_overshoot() -> None:
    bounds = Bounds(0.4, 0.4)
    for sign, clipped in ((1.0, [True, False, False]), (-1.0, [False, True, False])):
        rows = [(1.0 - 9, -9.0, sign), (-1.0 - 9, -9.0, sign), (0.1 - 9, -9.0, sign)]
        values, touched, gradients = raised(gmpo, [rows], bounds)
        kept = {True: [0.4, -1.0, 0.1], False: [1.0, -0.4, 0.1]}[sign > 0]
        assert values == pytest.approx([sign * math.exp(sum(kept) / 3)] * 3)
        assert touched == clipped
        assert [gradient == 0 for gradient in gradients] == clipped


@pytest.mark.parametrize("log_ratio", [-3.0, -0.1, 0.0, 0.1, 3.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_cispo_keeps_every_tokens_gradient_and_bounds_its_weight(log_ratio: float, advantage: float) -> None:
    _, clipped, gradients = raised(cispo, [[(log_ratio - 5, -5.0, advantage)]], Bounds(1.0, 4.0))
    weight = min(math.exp(log_ratio), 5.0)
    assert gradients == pytest.approx([weight * advantage])
    assert clipped == [math.exp(log_ratio) > 5]


def test_cpgd_clips_the_logarithm_of_the_ratio_so_that_the_gradient_never_grows_with_it() -> None:
    rows = [(d - 5, -5.0, a) for a in (1.0, -1.0) for d in (-2.0, 0.1, 2.0)]
    values, clipped, gradients = raised(cpgd, [rows])
    assert clipped == [False, False, True, True, False, False]
    assert gradients == [1.0, 1.0, 0.0, 0.0, -1.0, -1.0]
    assert values == pytest.approx([-2.0, 0.1, math.log(1.2), -math.log(0.8), -0.1, -2.0])


@given(st.floats(0.01, 20), st.floats(-5, -0.01), st.floats(1.01, 5))
def test_dual_clip_bounds_the_loss_of_a_bad_answer_alone(ratio: float, advantage: float, dual: float) -> None:
    bad = [(math.log(ratio) - 9, -9.0, advantage)]
    good = [(math.log(ratio) - 9, -9.0, -advantage)]
    assert raised(ppo_clip, [bad], Bounds(0.2, 0.2, dual))[0][0] >= dual * advantage * (1 + 1e-12)
    assert raised(ppo_clip, [good], Bounds(0.2, 0.2, dual)) == raised(ppo_clip, [good])
    (value,), (clipped,), (gradient,) = raised(ppo_clip, [bad], Bounds(0.2, 0.2, dual))
    if ratio > dual * (1 + 1e-9):
        assert (value, clipped, gradient) == (pytest.approx(dual * advantage), True, 0)
    elif ratio < dual * (1 - 1e-9):
        assert (value, clipped, gradient) == tuple(column[0] for column in raised(ppo_clip, [bad]))


@pytest.mark.parametrize("objective", [ppo_clip, gspo, gspo_token, gmpo, cpgd, cispo, policy_gradient])
@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("difference", [-1000.0, 1000.0])
def test_an_absurd_ratio_gives_finite_numbers(objective: Objective, difference: float, advantage: float) -> None:
    values, _, gradients = raised(objective, [[(difference, 0.0, advantage)]])
    assert math.isfinite(values[0])
    assert math.isfinite(gradients[0])


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_sequence_mean_is_that_of_the_answer_alone(answers: list[list[float]]) -> None:
    values = torch.tensor([value for row in answers for value in row], dtype=torch.float64)
    ids = torch.tensor([number for number, row in enumerate(answers) for _ in row])
    means = Tokens(values, values, values, ids).sequence_mean(values)
    assert means.tolist() == pytest.approx([math.fsum(row) / len(row) for row in answers for _ in row], abs=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 1))
def test_the_value_loss_is_half_the_larger_squared_error(value: float, old: float, target: float, clip: float) -> None:
    held = min(max(value, old - clip), old + clip)
    expected = max((value - target) ** 2, (held - target) ** 2) / 2
    loss, clipped = value_clip_loss(*(torch.tensor([x], dtype=torch.float64) for x in (value, old, target)), clip)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if abs((value - target) ** 2 - (held - target) ** 2) > 1e-9:
        assert clipped.item() == ((held - target) ** 2 > (value - target) ** 2)


def test_a_value_that_moved_far_enough_towards_its_target_is_left_alone() -> None:
    values = torch.tensor([0.5, -0.5], dtype=torch.float64, requires_grad=True)
    loss, clipped = value_clip_loss(values, torch.zeros(2).double(), torch.ones(2).double(), 0.2)
    loss.sum().backward()
    assert clipped.tolist() == [True, False]
    assert values.grad.tolist() == [0.0, -1.5]

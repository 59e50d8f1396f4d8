"""Baselines, credit by token, whitening: each estimator against its definition and its identities."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightrft_core import (
    ADVANTAGE_ESTIMATORS,
    batch_mean,
    gae,
    group_mean,
    group_norm,
    leave_one_out,
    returns_to_go,
    whiten,
)
from lightrft_core.advantages import USEFUL_GROUP_CAP

EPS = 1e-6
rewards_of_a_group = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=9)


def advantages(rewards: list[float], valid: list[bool] | None = None) -> list[float]:
    known = torch.tensor([valid if valid is not None else [True] * len(rewards)])
    return group_norm(torch.tensor([rewards], dtype=torch.float64), known)[0].tolist()


def test_one_winner_of_four_gets_one_and_a_half() -> None:
    winner, *losers = advantages([1, 0, 0, 0])
    assert winner == pytest.approx(1.5 / (1 + EPS / 0.5), rel=1e-12)
    assert losers == pytest.approx([-0.5 / (1 + EPS / 0.5)] * 3, rel=1e-12)


@given(rewards_of_a_group)
def test_advantages_are_the_papers_formula_with_the_unbiased_deviation(rewards: list[float]) -> None:
    if len(set(rewards)) == 1:
        expected = [0.0] * len(rewards)
    else:
        mean, deviation = statistics.fmean(rewards), statistics.stdev(rewards)
        expected = [(reward - mean) / (deviation + EPS) for reward in rewards]
    assert advantages(rewards) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(rewards_of_a_group)
def test_advantages_of_a_group_have_zero_mean(rewards: list[float]) -> None:
    assert math.fsum(advantages(rewards)) == pytest.approx(0, abs=1e-9)


@given(st.floats(-1e6, 1e6), st.integers(1, 12))
def test_equal_rewards_give_exactly_zero_whatever_their_value(reward: float, n: int) -> None:
    assert advantages([reward] * n) == [0.0] * n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [3, 6, 7, 10, 23])
def test_equal_rewards_whose_mean_rounds_off_still_give_exactly_zero(dtype: torch.dtype, n: int) -> None:
    rewards = torch.tensor([0.1, 0.7, 1 / 3, -2.3], dtype=dtype)[:, None].expand(-1, n).clone()
    assert group_norm(rewards, torch.ones(4, n, dtype=torch.bool)).eq(0).all()


@given(rewards_of_a_group, st.integers(1, 4), st.randoms(use_true_random=False))
def test_unknown_rewards_neither_count_nor_get_an_advantage(rewards: list[float], unknown: int, random) -> None:
    padded = [(reward, True) for reward in rewards] + [(random.choice([0.0, 1e9, math.nan]), False)] * unknown
    random.shuffle(padded)
    result = advantages([reward for reward, _ in padded], [known for _, known in padded])
    assert [a for a, (_, known) in zip(result, padded, strict=True) if not known] == [0.0] * unknown
    kept = [reward for reward, known in padded if known]
    assert [a for a, (_, known) in zip(result, padded, strict=True) if known] == pytest.approx(
        advantages(kept), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("known", [0, 1])
def test_fewer_than_two_known_rewards_teach_nothing(known: int) -> None:
    assert advantages([5.0, 1.0, 2.0], [True] * known + [False] * (3 - known)) == [0.0, 0.0, 0.0]


@given(rewards_of_a_group, st.floats(-1000, 1000))
def test_adding_a_constant_to_a_groups_rewards_changes_nothing(rewards: list[float], shift: float) -> None:
    shifted = [reward + shift for reward in rewards]
    if len(set(shifted)) == len(set(rewards)):
        assert advantages(shifted) == pytest.approx(advantages(rewards), rel=1e-6, abs=1e-6)


@given(rewards_of_a_group, st.floats(0.01, 1000))
def test_scaling_a_groups_rewards_changes_nothing_beyond_eps(rewards: list[float], scale: float) -> None:
    if len(set(rewards)) > 1:
        spread = statistics.stdev(rewards)
        bound = max(map(abs, advantages(rewards))) * EPS * abs(1 / spread - 1 / (scale * spread)) * 1.01
        change = [
            abs(a - b) for a, b in zip(advantages([r * scale for r in rewards]), advantages(rewards), strict=True)
        ]
        assert max(change) <= bound + 1e-9


def test_groups_do_not_influence_each_other() -> None:
    rewards = torch.tensor([[1.0, 0, 0, 0], [3, 3, 3, 3], [0, 10, 20, 30]], dtype=torch.float64)
    together = group_norm(rewards, torch.ones(3, 4, dtype=torch.bool))
    assert together.tolist() == [advantages(row) for row in rewards.tolist()]


# The other baselines


@given(rewards_of_a_group)
def test_leaving_one_out_is_the_centred_reward_a_little_stretched(rewards: list[float]) -> None:
    known, n = torch.ones(1, len(rewards), dtype=torch.bool), len(rewards)
    result = leave_one_out(torch.tensor([rewards], dtype=torch.float64), known)[0].tolist()
    mean = statistics.fmean(rewards)
    assert result == pytest.approx([n / (n - 1) * (reward - mean) for reward in rewards], rel=1e-9, abs=1e-9)
    others = [statistics.fmean(rewards[:i] + rewards[i + 1 :]) for i in range(n)]
    assert result == pytest.approx([r - other for r, other in zip(rewards, others, strict=True)], rel=1e-9, abs=1e-9)


def test_only_the_mean_is_taken_off_without_a_deviation() -> None:
    rewards = torch.tensor([[1.0, 0, 0, 0], [10.0, 0, 0, 0]])
    assert group_mean(rewards, torch.ones(2, 4, dtype=torch.bool)).tolist() == [
        [0.75, -0.25, -0.25, -0.25],
        [7.5, -2.5, -2.5, -2.5],
    ]


def test_one_name_has_many_numbers() -> None:
    rewards, known = torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 4, dtype=torch.bool)
    winner = [function(rewards, known)[0, 0].item() for function in (group_norm, leave_one_out, group_mean)]
    assert winner == pytest.approx([1.5, 1.0, 0.75], rel=1e-5)


def test_the_batchs_mean_is_that_of_every_known_reward() -> None:
    rewards, known = torch.tensor([[1.0, 2.0, 99.0], [5.0, 7.0, 0.0]]), torch.tensor([[True, True, False]] * 2)
    assert batch_mean(rewards, known).tolist() == [[1 - 15 / 4, 2 - 15 / 4, 0], [5 - 15 / 4, 7 - 15 / 4, 0]]


def test_the_filter_like_weight_makes_up_for_groups_without_signal_up_to_its_cap() -> None:
    filtered, silent, useful = ADVANTAGE_ESTIMATORS["cpgd_filter"].baseline, [0.5, 0.5], [1.0, 0.0]
    for groups, factor in (([useful], 1), ([useful, silent], 2), ([useful, *[silent] * 9], USEFUL_GROUP_CAP)):
        result = filtered(torch.tensor(groups), torch.ones(len(groups), 2, dtype=torch.bool))
        assert result[0].tolist() == [0.5 * factor, -0.5 * factor]
        assert result[1:].eq(0).all()


def test_a_group_whose_judging_failed_throughout_is_no_group_without_signal() -> None:
    rewards, known = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[True, True], [False, False]])
    assert ADVANTAGE_ESTIMATORS["cpgd_filter"].baseline(rewards, known).tolist() == [[0.5, -0.5], [0.0, 0.0]]


@pytest.mark.parametrize("name", ADVANTAGE_ESTIMATORS)
def test_no_groups_at_all_have_no_advantages(name: str) -> None:
    nothing = torch.zeros(0, 4)
    assert ADVANTAGE_ESTIMATORS[name].baseline(nothing, nothing.bool()).shape == (0, 4)


# Credit by token

numbers_of_tokens = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=9)


def tensors(pairs: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    rewards, values = torch.tensor(pairs, dtype=torch.float64).T
    return rewards, values


@given(numbers_of_tokens)
def test_without_discount_and_decay_an_advantage_is_the_return_less_the_value(pairs) -> None:
    rewards, values = tensors(pairs)
    advantages, returns = gae(rewards, values, 1.0, 1.0)
    expected = [math.fsum(rewards[t:].tolist()) for t in range(len(pairs))]
    assert returns.tolist() == pytest.approx(expected, abs=1e-9)
    assert (advantages + values).tolist() == pytest.approx(expected, abs=1e-9)


@given(numbers_of_tokens, st.floats(0, 1))
def test_without_lambda_an_advantage_is_the_error_of_one_step(pairs, gamma: float) -> None:
    rewards, values = tensors(pairs)
    following = [*values[1:].tolist(), 0.0]
    expected = [r + gamma * after - v for (r, v), after in zip(pairs, following, strict=True)]
    assert gae(rewards, values, gamma, 0.0)[0].tolist() == pytest.approx(expected, abs=1e-9)


@given(numbers_of_tokens, st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_return_to_go_discounts_each_later_reward_by_its_distance(pairs, gamma: float) -> None:
    rewards, _ = tensors(pairs)
    expected = [sum(gamma**k * r for k, r in enumerate(rewards[t:].tolist())) for t in range(len(pairs))]
    assert returns_to_go(rewards, gamma).tolist() == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=5), min_size=1, max_size=5))
def test_whitened_advantages_have_mean_zero_and_variance_one_over_all_tokens(answers: list[list[float]]) -> None:
    parts = [torch.tensor(answer, dtype=torch.float64) for answer in answers]
    whitened = whiten(parts)
    assert [len(part) for part in whitened] == [len(part) for part in parts]
    tokens, before = torch.cat(whitened), torch.cat(parts)
    assert tokens.mean().item() == pytest.approx(0, abs=1e-6)
    if before.var(correction=0) > 1e-3:
        assert tokens.var(correction=0).item() == pytest.approx(1, rel=1e-4)


def test_whitening_counts_tokens_and_not_answers() -> None:
    answers = [torch.tensor([1.0, 5.0]).double(), torch.tensor([-3.0, 0.0, 2.0]).double()]
    tokens = torch.cat(answers)
    expected = (tokens - tokens.mean()) / (tokens.var(correction=0) + 1e-8).sqrt()
    assert torch.cat(whiten(answers)).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_equal_advantages_are_whitened_to_zero_and_none_at_all_to_none() -> None:
    assert whiten([torch.full((3,), 0.7).double()])[0].abs().max() < 1e-9
    assert whiten([]) == []

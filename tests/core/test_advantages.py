"""GRPO's group-normalised advantages."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import group_norm

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

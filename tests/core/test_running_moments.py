"""The running scale of rewards: sound from the first batch on, and the same however rewards arrive."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lightrft_core import RewardShaping, RunningMoments, TrainState

rewards_seen = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=30)


def moments_of(*batches: list[float]) -> RunningMoments:
    moments = RunningMoments()
    for batch in batches:
        moments.include(batch)
    return moments


@pytest.mark.parametrize("centre", [False, True])
def test_a_first_batch_of_one_reward_has_no_scale(centre: bool) -> None:
    moments = moments_of([3.0])
    assert moments.normalise(3.0, centre=centre) == (0.0 if centre else 3.0)
    assert moments.normalise(5.0, centre=centre) == (2.0 if centre else 5.0)


@pytest.mark.parametrize("reward", [0.0, 0.1, -2.3, 1e6, 1 / 3])
@pytest.mark.parametrize("count", [2, 3, 7, 1000])
def test_equal_rewards_have_no_scale_even_where_their_mean_rounds_off(reward: float, count: int) -> None:
    for moments in (moments_of([reward] * count), moments_of(*[[reward]] * min(count, 7))):
        assert moments.normalise(reward, centre=False) == reward
        assert moments.normalise(reward, centre=True) == pytest.approx(0, abs=1e-9 * max(1, abs(reward)))


@given(rewards_seen)
def test_rewards_are_divided_by_the_unbiased_deviation_of_all_seen(rewards: list[float]) -> None:
    assume(len(set(rewards)) > 1)
    moments = moments_of(rewards)
    mean, deviation = statistics.fmean(rewards), statistics.stdev(rewards)
    assume(deviation > 1e-5)
    assert moments.normalise(7.0, centre=False) == pytest.approx(7 / deviation, rel=1e-6)
    assert moments.normalise(7.0, centre=True) == pytest.approx((7 - mean) / deviation, rel=1e-6, abs=1e-6)


@given(rewards_seen, st.randoms(use_true_random=False))
def test_neither_order_nor_the_cut_into_batches_matters(rewards: list[float], order) -> None:
    whole = moments_of(rewards)
    shuffled = order.sample(rewards, len(rewards))
    cuts = sorted(order.sample(range(len(rewards) + 1), 2))
    other = moments_of(shuffled[: cuts[0]], shuffled[cuts[0] : cuts[1]], shuffled[cuts[1] :])
    assert other.count == whole.count
    assert other.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9)
    assert other.squares == pytest.approx(whole.squares, rel=1e-9, abs=1e-9)


def test_a_batch_without_rewards_changes_nothing() -> None:
    moments = moments_of([1.0, 2.0])
    moments.include([])
    assert moments == moments_of([1.0, 2.0])
    assert moments_of([]) == RunningMoments()


@given(rewards_seen, rewards_seen)
def test_moments_read_back_go_on_with_the_same_bits(tmp_path_factory, first: list[float], later: list[float]) -> None:
    folder: Path = tmp_path_factory.mktemp("state")
    state = TrainState(step=1, moments=moments_of(first))
    state.save(folder)
    loaded = TrainState.load(folder)
    assert loaded.moments == state.moments
    for moments in (loaded.moments, state.moments):
        moments.include(later)
    assert loaded.moments == state.moments


def test_a_failed_judgement_has_no_part_in_the_scale(build_group) -> None:
    groups = [build_group([1], [[2]] * 4, [1.0, None, 3.0, 5.0])]
    moments = RunningMoments()
    RewardShaping(running_norm=True, running_mean=True).scale(groups, moments)
    assert moments == moments_of([1.0, 3.0, 5.0])
    assert [rollout.reward for rollout in groups[0].rollouts] == [-1.0, None, 0.0, 1.0]


def test_rewards_are_clipped_before_they_are_scaled(build_group) -> None:
    groups = [build_group([1], [[2]] * 4, [1.0, 3.0, 5.0, 1000.0])]
    moments = RunningMoments()
    RewardShaping(clip=(0.0, 5.0), running_norm=True).scale(groups, moments)
    assert moments == moments_of([1.0, 3.0, 5.0, 5.0])


def test_without_a_running_norm_rewards_are_the_scores(build_group) -> None:
    groups, moments = [build_group([1], [[2]] * 3, [1.0, None, -7.0])], RunningMoments()
    RewardShaping().scale(groups, moments)
    assert [rollout.reward for rollout in groups[0].rollouts] == [1.0, None, -7.0]
    assert moments == RunningMoments()

"""Metrics are the same however a step is cut up; rollout metrics say what happened to the rollouts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, Metrics, Verdict, rollout_metrics

parts_of_values = st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=6)


@given(parts_of_values, st.randoms(use_true_random=False))
def test_means_and_maxima_do_not_depend_on_how_values_are_split(parts: list[list[float]], order) -> None:
    pieces = []
    for values in parts:
        piece = Metrics()
        piece.mean("m", values)
        piece.max("x", torch.tensor(values, dtype=torch.float64))
        pieces.append(piece)
    order.shuffle(pieces)
    merged = Metrics()
    for piece in pieces:
        merged.merge(piece)
    everything = [value for values in parts for value in values]
    if everything:
        mean = math.fsum(everything) / len(everything)
        assert merged.result() == {"m": pytest.approx(mean, abs=1e-6), "x": max(everything)}
    else:
        assert merged.result() == {}


def test_a_mean_is_over_values_not_over_micro_batches() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.mean("m", torch.tensor([True, False, False]))
    other.mean("m", torch.tensor([1.0], requires_grad=True))
    metrics.merge(other)
    assert metrics.result() == {"m": 0.5}


weights = st.lists(st.floats(0, 100), max_size=6)


@given(st.lists(weights, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_an_effective_share_does_not_depend_on_how_weights_are_split(parts: list[list[float]], order) -> None:
    pieces = []
    for values in parts:
        piece = Metrics()
        piece.effective_share("e", torch.tensor(values, dtype=torch.float64))
        pieces.append(piece)
    order.shuffle(pieces)
    merged = Metrics()
    for piece in pieces:
        merged.merge(piece)
    everything = [value for values in parts for value in values]
    squares = math.fsum(value**2 for value in everything)
    expected = {"e": math.fsum(everything) ** 2 / (squares * len(everything))} if squares else {}
    assert merged.result() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("values", "share"), [([2.0, 2.0, 2.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25)])
def test_equal_weights_are_all_effective_and_a_single_one_counts_alone(values: list[float], share: float) -> None:
    metrics = Metrics()
    metrics.effective_share("e", torch.tensor(values))
    assert metrics.result() == {"e": share}


def test_the_share_of_groups_that_were_kept_is_of_those_sampled(build_group) -> None:
    groups = [build_group([1], [[2], [3]], [1.0, 0.0])] * 4
    assert rollout_metrics(groups, kept=3).result()["group/kept_share"] == 0.75


def test_rollout_metrics_count_what_was_judged_and_what_was_not(build_group) -> None:
    solved = build_group([1], [[2, 3, 4], [5], [6, 7]], [1.0, 0.0, None], advantages=[0.7, -0.7, 0.0])
    solved.rollouts[0].verdict = Verdict(1.0, accuracy=1.0, parts={"format": 0.5}, metrics={"words": 3.0})
    solved.rollouts[2].verdict = Verdict(None, error="the function raised")
    silent = build_group([1], [[2] * 6, [3] * 4], [0.0, 0.0], logprobs=[[-2.0] * 6, [-3.0] * 4])
    silent.rollouts[0].finish_reason = FinishReason.LENGTH
    lost = build_group([1], [[2]], [None])
    lost.rollouts[0].verdict = Verdict(None, timed_out=True)
    numbers = rollout_metrics([solved, silent, lost]).result()
    assert numbers == pytest.approx(
        {
            "reward/mean": 1 / 4,
            "reward/square_mean": 1 / 4,
            "reward/error_share": 1 / 6,
            "reward/timeout_share": 1 / 6,
            "reward/part/format": 0.5,
            "reward/unearned_share": 0,
            "reward/extra/words": 3.0,
            "rollout/length_mean": 17 / 6,
            "rollout/length_max": 6,
            "rollout/length_correct": 3,
            "rollout/length_wrong": 11 / 3,
            "rollout/truncated_share": 1 / 6,
            "rollout/entropy_estimate": (6 * 1 + 6 * 2 + 4 * 3 + 1) / 17,
            "group/pass_rate": (1 / 2 + 0) / 2,
            "group/all_correct_share": 0,
            "group/all_wrong_share": 1 / 2,
            "group/zero_signal_share": 1 / 3,
            "group/kept_share": 1,
        }
    )

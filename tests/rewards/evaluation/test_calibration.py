"""Calibration: the judge's own probability beside how often it is right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import exp, isclose, log, sqrt
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards.evaluation import Asking, JudgedComparison, calibration, decided_pairs
from lightrft_rewards.models.losses import uncertainty

from .judged_data import judgements, pair


def sigmoid(margin: float) -> float:
    return 1 / (1 + exp(-margin))


def rows_by_hand(judged: Sequence[JudgedComparison]) -> list[tuple[float, float, float, float]]:
    """(probability of the better one, confidence, right, weight) of each unequal pair."""
    rows = []
    for comparison in judged:
        labels, scores = comparison.labels, comparison.scores
        n = len(labels)
        places = [(i, j) for i in range(n) for j in range(n) if scores and labels[i] > labels[j]]
        for i, j in places:
            probability = sigmoid(scores[i] - scores[j])
            right = 0.5 if scores[i] == scores[j] else float(scores[i] > scores[j])
            rows.append((probability, max(probability, 1 - probability), right, 1 / len(places)))
    return rows


@given(judgements(), st.floats(0.1, 10))
def test_scores_at_a_temperature_are_as_sure_as_those_divided_by_it(
    judged: Sequence[JudgedComparison], temperature: float
) -> None:
    unsure = [replace(one, variances=tuple(0.5 + i for i in range(len(one.scores)))) for one in judged]
    divided = [
        replace(
            one,
            scores=tuple(score / temperature for score in one.scores),
            variances=tuple(variance / temperature**2 for variance in one.variances),
        )
        for one in unsure
    ]
    found = [pair.probability for one in unsure for pair in decided_pairs(replace(one, temperature=temperature))]
    assert found == pytest.approx([pair.probability for one in divided for pair in decided_pairs(one)], abs=1e-12)


@given(judgements(), st.integers(1, 12))
def test_its_error_is_the_gap_of_every_bin_by_what_the_bin_weighs(
    judged: Sequence[JudgedComparison], bins: int
) -> None:
    rows, found = rows_by_hand(judged), calibration(judged, bins)
    if not rows:
        assert found is None
        return
    assert found is not None
    total, error = sum(weight for *_, weight in rows), 0.0
    for i, one in enumerate(found.bins):
        low, high = 0.5 + i * 0.5 / bins, 0.5 + (i + 1) * 0.5 / bins
        assert (one.low, one.high) == (pytest.approx(low), pytest.approx(high))
        part = [(c, r, w) for _, c, r, w in rows if low - 1e-12 <= c < high - 1e-12 or (i == bins - 1 and c >= high)]
        weight = sum(w for *_, w in part)
        assert one.weight == pytest.approx(weight / total)
        if part:
            confidence, accuracy = (sum(x[k] * x[2] for x in part) / weight for k in (0, 1))
            assert (one.confidence, one.accuracy) == (pytest.approx(confidence), pytest.approx(accuracy))
            error += weight / total * abs(accuracy - confidence)
        else:
            assert one.confidence is None
            assert one.accuracy is None
    assert found.error == pytest.approx(error)
    assert found.over_confidence == pytest.approx(sum(w * (c - r) for _, c, r, w in rows) / total)
    assert found.log_loss == pytest.approx(sum(-w * log(p) for p, _, _, w in rows) / total)
    assert found.brier == pytest.approx(sum(w * (1 - p) ** 2 for p, _, _, w in rows) / total)


def test_a_judge_whose_margins_are_the_log_odds_is_calibrated_and_one_three_times_as_sure_is_not() -> None:
    chance = random.Random(0)
    honest, sure = [], []
    for i in range(20_000):
        margin = abs(chance.gauss(0, 1.5))
        signed = margin if chance.random() < sigmoid(margin) else -margin
        honest.append(pair(signed, 0.0, uid=str(i)))
        sure.append(pair(3 * signed, 0.0, uid=str(i)))
    calm, loud = calibration(honest), calibration(sure)
    assert calm is not None
    assert loud is not None
    assert calm.error < 0.02
    assert abs(calm.over_confidence) < 0.01
    assert loud.error > 0.1
    assert loud.over_confidence == pytest.approx(loud.error)
    assert loud.log_loss > calm.log_loss


@given(*[st.floats(-6, 6) for _ in range(2)], *[st.floats(0.01, 9) for _ in range(2)])
def test_gaussian_scores_give_the_mean_of_the_sigmoid_as_reward_models_learn_it(
    better: float, worse: float, one: float, other: float
) -> None:
    (found,) = decided_pairs(pair(better, worse, variances=(one, other)))
    scores = torch.tensor([better, worse, log(one), log(other)], dtype=torch.float64)[:, None]
    assert found.probability == pytest.approx(float(uncertainty(*scores).neg().exp()), abs=1e-9)


def test_gaussian_scores_are_integrated_to_the_mean_that_many_draws_have() -> None:
    chance = random.Random(0)
    drawn = [sigmoid(chance.gauss(1.5, sqrt(9 + 40))) for _ in range(200_000)]
    (found,) = decided_pairs(pair(2.0, 0.5, variances=(9.0, 40.0)))
    assert found.probability == pytest.approx(fmean(drawn), abs=0.004)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_probabilities_of_the_two_ways_round_add_up_to_one_however_far_the_scores_lie_apart(a: float, b: float) -> None:
    (one,), (other,) = decided_pairs(pair(a, b)), decided_pairs(pair(b, a))
    assert isclose(one.probability + other.probability, 1)
    assert (one.probability > other.probability) == (a - b > 1e-15) or abs(a - b) < 1e-12


def test_a_judge_that_writes_gives_no_probability_to_calibrate() -> None:
    askings = (Asking(0, 0), Asking(1, 0))
    assert calibration([pair(1.0, 0.0, askings=askings), pair(1.0, 0.0)]) is None

"""Every row of the table of algorithms against its paper, written out in float64 (references)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from comparison import assert_is_the_papers, close, flat
from core_step import learn
from hypothesis import given, settings
from hypothesis import strategies as st
from references.case import Case, random_case
from references.rows import ROWS, Row

from lightrft_core import ALGORITHMS, Aggregation, Algorithm, KLPlacement

pytestmark = pytest.mark.usefixtures("one_thread")

AGGREGATIONS = {
    Aggregation.TOKEN_MEAN: "token_mean",
    Aggregation.SEQ_MEAN_TOKEN_MEAN: "sequence_mean_token_mean",
    Aggregation.SEQ_MEAN_TOKEN_SUM: "sequence_mean_token_sum",
    Aggregation.CONSTANT_LENGTH: "constant_length",
}
PLACES = {
    KLPlacement.LOSS: "loss",
    KLPlacement.REWARD: "token_reward",
    KLPlacement.SEQUENCE_REWARD: "sequence_reward",
}

cases = st.builds(
    random_case,
    st.integers(0, 2**32).map(random.Random),
    groups=st.integers(1, 4),
    n=st.integers(1, 5),
    max_length=st.integers(1, 7),
    spread=st.sampled_from([1e-4, 0.1, 0.5, 3.0]),
)
every_row = pytest.mark.parametrize("name", ALGORITHMS)


def test_every_algorithm_has_a_reference_and_every_reference_an_algorithm() -> None:
    assert ALGORITHMS.keys() == ROWS.keys()


@every_row
@settings(max_examples=25)
@given(case=cases)
def test_advantages_loss_and_gradient_are_the_papers(name: str, case: Case) -> None:
    assert_is_the_papers(learn(case, ALGORITHMS[name]), ROWS[name], case)


@every_row
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_how_a_step_is_cut_into_micro_batches_never_shows(name: str, micro_batch: int) -> None:
    for seed in range(3):
        case = random_case(random.Random(seed), groups=3, n=4, max_length=6, spread=0.3)
        whole, cut = learn(case, ALGORITHMS[name]), learn(case, ALGORITHMS[name], micro_batch=micro_batch)
        assert [cut.loss, cut.value_loss] == close([whole.loss, whole.value_loss])
        assert flat(cut.gradient) == close(whole.gradient)
        assert flat(cut.value_gradient) == close(whole.value_gradient)
        assert cut.forwarded == whole.forwarded


@every_row
@settings(max_examples=15)
@given(case=cases)
def test_answers_left_out_of_the_forward_pass_have_no_gradient_in_the_paper(name: str, case: Case) -> None:
    learnt, expected = learn(case, ALGORITHMS[name]), ROWS[name].gradient(case)
    left_out = [(g, i) for g, i, _ in case.judged() if (g, i) not in learnt.forwarded]
    assert [flat(expected[g][i]) for g, i in left_out] == [[0.0] * len(case.groups[g][i]) for g, i in left_out]
    assert not left_out or not ALGORITHMS[name].learns_without_signal


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if not row.learns_without_signal])
def test_answers_without_signal_are_left_out_but_count_in_the_denominator(name: str) -> None:
    case = random_case(random.Random(5), groups=2, n=4, max_length=6, spread=0.3)
    for number, answer in enumerate(case.groups[0]):
        answer.reward = float(number)
    for answer in case.groups[1]:
        answer.reward = 0.0
    learnt = learn(case, ALGORITHMS[name])
    if ALGORITHMS[name].estimator.within_group:
        assert learnt.forwarded == {(0, i) for i in range(len(case.groups[0]))}
    assert_is_the_papers(learnt, ROWS[name], case)


@every_row
def test_the_tables_constants_are_the_references(name: str) -> None:
    assert constants(ALGORITHMS[name], ROWS[name]) == {
        key: value for key, value in vars(ROWS[name]).items() if key not in {"advantage", "objective"}
    }


def constants(algorithm: Algorithm, row: Row) -> dict[str, Any]:
    """The algorithm's in a row's words; None where the row's objective has no such constant."""
    bounded = row.objective != "policy_gradient"
    return {
        "paper": algorithm.paper,
        "aggregation": AGGREGATIONS[algorithm.aggregation],
        "whiten": algorithm.estimator.whiten,
        "clip_low": algorithm.bounds.low if bounded and row.objective != "cispo" else None,
        "clip_high": algorithm.bounds.high if bounded else None,
        "dual_clip": algorithm.bounds.dual,
        "kl_coef": algorithm.kl_coef,
        "kl_place": PLACES[algorithm.kl_placement] if algorithm.kl_coef else "none",
        "kl_estimator": algorithm.kl_estimator if algorithm.kl_coef else "none",
        "gamma": algorithm.gamma,
        "lam": algorithm.lambd if algorithm.estimator.critic else None,
        "drift_coef": algorithm.drift_coef or None,
        "drift_cap": algorithm.drift_bound if algorithm.drift_coef else None,
        "entropy_share": algorithm.high_entropy_share if algorithm.high_entropy_share < 1 else None,
        "value_clip": algorithm.value_clip if algorithm.estimator.critic else None,
    }


def test_minimax_weights_have_no_lower_bound() -> None:
    assert 1 - ALGORITHMS["cispo"].bounds.low == 0
    assert 1 + ALGORITHMS["cispo"].bounds.high == 5


@every_row
def test_no_row_turns_on_what_its_paper_does_not(name: str) -> None:
    row = ALGORITHMS[name]
    assert (row.teacher_kl_coef, row.entropy_coef, row.advantage_clip, row.correction) == (0, 0, 0, None)
    assert not row.kl_unbiased
    assert (row.chosen.mask_truncated, row.chosen.keep_best) == (False, 0)
    assert (row.dynamic_sampling is not None) == (row.shaping.overlong_share > 0) == (name in {"dapo", "high_entropy"})

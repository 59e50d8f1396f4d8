"""Rewards of answers that were cut off."""

from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, Verdict, stop_properly

scores = st.floats(-10, 10)
coefficients = st.floats(-1, 1)


@given(scores, coefficients)
def test_an_answer_that_ended_keeps_its_verdict(score: float, coefficient: float) -> None:
    verdict = Verdict(score, accuracy=1.0, parts={"number": score})
    assert stop_properly(verdict, FinishReason.STOP, coefficient) is verdict


@given(scores, coefficients)
def test_being_cut_off_never_pays_and_leaves_the_accuracy(score: float, coefficient: float) -> None:
    verdict = Verdict(score, accuracy=1.0)
    paid = stop_properly(verdict, FinishReason.LENGTH, coefficient)
    assert paid.accuracy == 1.0
    if coefficient >= 0:
        assert paid.score == (score * coefficient if score > 0 else score)
    else:
        assert paid.score == coefficient


def test_a_verdict_without_a_score_stays_without_one() -> None:
    failed = Verdict(None, error="exploded")
    assert stop_properly(failed, FinishReason.LENGTH, -1.0) is failed

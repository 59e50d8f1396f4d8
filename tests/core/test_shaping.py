"""What is done to a reward between the judge and the advantage."""

from __future__ import annotations

import pytest

from lightrft_core import FinishReason, Verdict, stop_properly

JUDGED = Verdict(0.8, accuracy=1.0, parts={"format": 0.3})


@pytest.mark.parametrize(("coefficient", "score"), [(1.0, 0.8), (0.5, 0.4), (0.0, 0.0), (-0.7, -0.7)])
def test_an_answer_that_was_cut_off_is_paid_by_the_coefficient(coefficient: float, score: float) -> None:
    shaped = stop_properly(JUDGED, FinishReason.LENGTH, coefficient)
    assert shaped.score == pytest.approx(score)
    assert (shaped.accuracy, shaped.parts) == (JUDGED.accuracy, JUDGED.parts)


@pytest.mark.parametrize("coefficient", [1.0, 0.5, 0.0, -0.7])
def test_an_answer_that_came_to_its_end_keeps_its_reward(coefficient: float) -> None:
    assert stop_properly(JUDGED, FinishReason.STOP, coefficient) == JUDGED


@pytest.mark.parametrize("coefficient", [0.5, 0.0, -0.7])
def test_a_failed_judgement_stays_one_however_the_answer_ended(coefficient: float) -> None:
    failed = Verdict(None, error="broke")
    assert stop_properly(failed, FinishReason.LENGTH, coefficient) == failed

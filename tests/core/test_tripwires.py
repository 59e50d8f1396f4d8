"""The tripwires: what they measure, and when they warn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, Group, Prompt, Rollout, Verdict, Vitals, rollout_metrics
from lightrft_core.tripwires import length_correlation, unearned

Answers = list[tuple[float | None, int]]


def group(answers: Answers, accuracy: float = 1.0) -> Group:
    """An answer is (score, length); None: it could not be judged."""
    rollouts = [
        Rollout(
            number,
            [1] * length,
            [0.0] * length,
            [True] * length,
            FinishReason.STOP,
            "",
            verdict=Verdict(None, error="broke") if score is None else Verdict(score, accuracy=accuracy),
        )
        for number, (score, length) in enumerate(answers)
    ]
    return Group(Prompt("row", (), "", (1,), None, ""), rollouts)


def test_the_correlation_is_that_of_answers_to_one_prompt() -> None:
    easy, hard = [(1.0, 5), (0.9, 6)] * 8, [(0.2, 90), (0.1, 91)] * 8
    assert length_correlation([group(easy), group(hard)]) == pytest.approx(-1.0)
    assert length_correlation([group([(score, 200 - length) for score, length in easy + hard])]) == pytest.approx(
        -np.corrcoef([score for score, _ in easy + hard], [length for _, length in easy + hard])[0, 1]
    )


pairs = st.tuples(st.none() | st.integers(-8, 8).map(float), st.integers(1, 50))


@given(st.lists(st.lists(pairs, max_size=9), min_size=8, max_size=12))
def test_the_correlation_is_numpys_of_what_was_judged(groups: list[Answers]) -> None:
    scores, lengths = [], []
    for answers in groups:
        known = [(score, length) for score, length in answers if score is not None]
        if len(known) > 1:
            scores += list(np.array([score for score, _ in known]) - np.mean([score for score, _ in known]))
            lengths += list(np.array([length for _, length in known]) - np.mean([length for _, length in known]))
    given_back = length_correlation([group(answers) for answers in groups])
    if len(scores) < 32 or np.std(scores) < 1e-9 or np.std(lengths) < 1e-9:
        assert given_back is None or len(scores) >= 32
    else:
        assert given_back == pytest.approx(np.corrcoef(scores, lengths)[0, 1], abs=1e-9)


def test_few_answers_or_equal_ones_have_no_correlation() -> None:
    assert length_correlation([group([(1.0, 1), (0.0, 2)] * 15), group([(1.0, 1)]), group([])]) is None
    assert length_correlation([group([(1.0, 1), (0.0, 2)] * 16)]) == pytest.approx(-1)
    assert length_correlation([group([(1.0, 1), (1.0, 2)] * 20)]) is None
    assert length_correlation([group([(1.0, 3), (0.0, 3)] * 20)]) is None


def test_an_unearned_win_scores_above_its_prompt_and_nothing_with_an_accuracy_of_zero() -> None:
    wrong = group([(0.2, 1), (0.0, 1), (None, 1)], accuracy=0.0)
    right = group([(1.2, 1), (0.2, 1)])
    below_nothing = group([(-0.1, 1), (-1.0, 1)], accuracy=0.0)
    equal = group([(0.2, 1), (0.2, 1)], accuracy=0.0)
    assert unearned([wrong, right, below_nothing, equal, group([]), group([(None, 1)])]) == [True, False]
    assert unearned([group([(0.2, 1), (0.0, 1)], accuracy=0.1)]) == [False]


def test_the_numbers_of_a_step_hold_both() -> None:
    numbers = rollout_metrics([group([(0.2, 9), (0.0, 1)] * 16, accuracy=0.0)]).result()
    assert numbers["reward/length_correlation"] == pytest.approx(1.0)
    assert numbers["reward/unearned_share"] == 1.0
    few = rollout_metrics([group([(0.2, 9), (0.2, 1)])]).result()
    assert not {"reward/length_correlation", "reward/unearned_share"} & few.keys()


HEALTHY = {
    "rollout/entropy_estimate": 1.0,
    "rollout/length_mean": 100.0,
    "rollout/truncated_share": 0.05,
    "group/zero_signal_share": 0.3,
}


def warnings(steps: int = 1, **changes: float) -> list[str]:
    """What a healthy run is told, by the last of so many steps with these numbers."""
    vitals = Vitals()
    assert vitals.check(HEALTHY) == []
    changed = HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()}
    return [vitals.check(changed) for _ in range(steps)][-1]


def test_a_reward_that_grows_with_length_is_said() -> None:
    (warning,) = warnings(reward__length_correlation=0.71)
    assert "longer answers" in warning
    assert "0.71" in warning
    assert warnings(reward__length_correlation=0.69) == []
    (warning,) = warnings(reward__length_correlation=-0.71)
    assert "shorter answers" in warning


def test_that_answers_cut_off_earn_little_is_no_sign() -> None:
    assert warnings(reward__length_correlation=-0.9, rollout__truncated_share=0.2) == []
    assert len(warnings(reward__length_correlation=0.9, rollout__truncated_share=0.2)) == 1


def test_wins_by_form_alone_are_said_once_they_last() -> None:
    assert warnings(9, reward__unearned_share=0.6) == []
    (warning,) = warnings(10, reward__unearned_share=0.6)
    assert "60%" in warning
    assert "accuracy of 0" in warning
    assert warnings(11, reward__unearned_share=0.6) == []
    assert warnings(10, reward__unearned_share=0.5) == []


def test_a_step_without_wins_begins_the_count_anew_and_the_count_is_kept_in_checkpoints() -> None:
    vitals, bad = Vitals(), HEALTHY | {"reward/unearned_share": 0.9}
    for metrics in [bad] * 9 + [HEALTHY] + [bad] * 9:
        assert vitals.check(metrics) == []
    again = Vitals(**vars(vitals))
    assert len(again.check(bad)) == 1


def test_a_reward_that_never_varies_is_named_with_its_value() -> None:
    stuck = {"group__zero_signal_share": 1.0, "reward__mean": 0.25, "reward__square_mean": 0.0625}
    (warning,) = warnings(**stuck)
    assert "every answer earned the same reward, 0.25" in warning
    (warning,) = warnings(**stuck | {"reward__square_mean": 0.07})
    assert "every group's rewards are all equal" in warning

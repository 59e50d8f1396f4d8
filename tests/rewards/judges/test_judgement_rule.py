"""What counts as a judgement, and when it agrees with people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards import RULES, LabelError
from lightrft_rewards.rules.judgement import TIE, grade_of, verdict_of

GRADE = {"grade": 4, "lowest": 1, "highest": 5}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>Answer 1 is better</answer>", 1),
        ("<think>Answer 1 is better</think>\n<answer> image 2 IS better. </answer>", 2),
        ("<answer>Video 1 is better</answer> no: <answer>Video 2 is better</answer>", 2),
        ("<answer>Both are equally good</answer>", TIE),
        ("<answer>both images are equally good.</answer>", TIE),
        ("Answer 1 is better", None),
        ("<answer>Answer 3 is better</answer>", None),
        ("<answer>Answer 1 is better than Answer 2</answer>", None),
        ("<answer>1</answer>", None),
        ("<answer>Answer 1 is better</answer> or <answer>neither</answer>", None),
        ("<answer>Answer 1 is better", None),
        ("", None),
    ],
)
def test_a_verdict_is_what_the_last_answer_says_and_nothing_else(text: str, verdict: int | None) -> None:
    assert verdict_of(text) == verdict
    agreement = RULES["judgement"].score
    for label in (0, 1, 2):
        assert agreement(text, {"verdict": label}) == float(verdict == label)


@pytest.mark.parametrize(
    ("text", "grade"),
    [("<answer>4</answer>", 4.0), ("<answer> 2.5. </answer>", 2.5), ("<answer>6</answer>", None), ("4", None)]
    + [(f"<answer>{said}</answer>", None) for said in ("", "four", "4/5", "nan", "inf", "1e0", "4 or 5", "٣")],
)
def test_a_grade_is_a_number_on_its_scale_alone(text: str, grade: float | None) -> None:
    assert grade_of(text, 1, 5) == grade


def test_a_grade_agrees_the_less_the_further_it_lies_apart() -> None:
    agreement = RULES["judgement"].score
    assert [agreement(f"<answer>{said}</answer>", GRADE) for said in (4, 5, 2, 1)] == [1, 0.75, 0.5, 0.25]
    assert agreement("no grade", GRADE) == 0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<answer>Answer 1 is better</answer>", 1),
        ("<think>hm</think><answer>Both are equally good</answer>\n", 1),
        ("hm <answer>Answer 1 is better</answer>", 0),
        ("<answer>Answer 1 is better</answer> surely", 0),
        ("<think>a</think><think>b</think><answer>Answer 1 is better</answer>", 0),
        ("<answer>Answer 1 is better</answer><think>hm</think>", 0),
        ("<answer>no idea</answer>", 0),
        ("<answer>x</answer><answer>Answer 1 is better</answer>", 0),
        ("<think><answer>Answer 1 is better</answer>", 0),
    ],
)
def test_the_format_is_one_thought_at_most_and_one_readable_answer(text: str, right: int) -> None:
    assert RULES["judgement_format"].score(text, {"verdict": 1}) == right


def test_the_format_of_a_grade_is_a_grade() -> None:
    form = RULES["judgement_format"].score
    assert [form(f"<answer>{said}</answer>", GRADE) for said in ("4", "9", "Answer 1 is better")] == [1, 0, 0]


@pytest.mark.parametrize(
    "label", [None, "1", 1, {"verdict": 3}, {"verdict": True}, {"verdict": "1"}, {"grade": 3}, {**GRADE, "highest": 1}]
)
def test_a_label_that_cannot_be_read_is_an_error_and_not_a_zero(label: object) -> None:
    with pytest.raises(LabelError, match="rule judgement needs a label"):
        RULES["judgement"].score("<answer>Answer 1 is better</answer>", label)


@given(st.text(alphabet="<>/answerthik 12Ansbwr.is better\n", max_size=80), st.sampled_from([{"verdict": 1}, GRADE]))
def test_whatever_a_judge_says_its_reward_is_a_share(text: str, label: object) -> None:
    agreement, form = (RULES[name].score(text, label) for name in ("judgement", "judgement_format"))
    assert 0 <= agreement <= 1
    assert form in (0, 1)
    assert not (form and label == {"verdict": 1} and verdict_of(text) is None)

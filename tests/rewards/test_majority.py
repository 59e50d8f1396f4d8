"""The majority vote: answers read out of texts in one form, and verdicts by what most of a group say."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core.protocols import Reward
from lightrft_core.types import FinishReason, Group, Message, Prompt, Rollout, Verdict
from lightrft_rewards import RULES, RewardSetupError
from lightrft_rewards.majority import MajorityVote

KILOBYTES = 100_000
HOSTILE = {
    "digits": "9" * KILOBYTES,
    "thousands": "1" + ",234" * (KILOBYTES // 4),
    "decimals": "0." + "7" * KILOBYTES,
    "exponents": "1e999" * (KILOBYTES // 5),
    "a fraction that is none": "1/" + "1" * KILOBYTES + "/",
    "a denominator of zeros": "1/" + "0" * KILOBYTES,
    "fractions": "1/2" * (KILOBYTES // 3),
    "signs": "-" * KILOBYTES,
    "dollars": "\\$" * (KILOBYTES // 2),
    "a digit in a word": "a" + "1" * KILOBYTES,
    "hashes": "#" * KILOBYTES + "1",
    "blank lines": "####" + " \n" * (KILOBYTES // 2),
    "spaces": "1" + " " * KILOBYTES + "2",
    "open boxes": "\\boxed{" * (KILOBYTES // 7),
    "nested boxes": "\\boxed{" * (KILOBYTES // 8) + "}" * (KILOBYTES // 8),
    "braces": "{" * (KILOBYTES // 2) + "}" * (KILOBYTES // 2),
    "open texts": "\\text{" * (KILOBYTES // 6),
    "text without a brace": "\\text " * (KILOBYTES // 6),
    "a text far from its brace": "\\text" + " " * KILOBYTES,
    "nested texts": "\\text{" * (KILOBYTES // 7) + "}" * (KILOBYTES // 7),
    "backslashes": "\\" * KILOBYTES,
    "spacing": "\\, \\! \\quad ~" * (KILOBYTES // 14),
    "fractions of digits": "\\frac" + "1" * KILOBYTES,
    "scripts": "^{a}" * (KILOBYTES // 4),
}


def group(*responses: str, label: object = None) -> Group:
    prompt = Prompt("a", (Message("user", "3+4="),), "3+4=", (1, 2), label, "some route")
    return Group(
        prompt,
        [Rollout(number, [1], [0.0], [True], FinishReason.STOP, text) for number, text in enumerate(responses)],
    )


def judge(rule: str, *responses: str, label: object = None) -> list[Verdict]:
    [verdicts] = MajorityVote(rule).score([group(*responses, label=label)], step=1)
    return verdicts


def scores(rule: str, *responses: str) -> list[float | None]:
    return [verdict.score for verdict in judge(rule, *responses)]


def extract(rule: str, response: str) -> str | None:
    read = RULES[rule].extract
    assert read is not None
    return read(response)


def test_an_answer_is_paid_if_most_of_its_group_give_it() -> None:
    with MajorityVote("number") as vote:
        reward: Reward = vote
        verdicts = reward.score([group("7", "so 8", "it is 7.0", "none"), group("1")], step=3)
        assert reward.score([], step=4) == []
    right, wrong = (
        Verdict(score=score, accuracy=score, parts={"majority": score}, metrics={"majority_share": 0.5})
        for score in (1.0, 0.0)
    )
    assert verdicts == [
        [right, wrong, right, wrong],
        [Verdict(score=1.0, accuracy=1.0, parts={"majority": 1.0}, metrics={"majority_share": 1.0})],
    ]


def test_a_tie_goes_to_the_answer_seen_first() -> None:
    assert scores("number", "no idea", "8", "7", "7", "8") == [0, 1, 0, 0, 1]
    assert scores("number", "7", "8") == [1, 0]


def test_unreadable_answers_have_no_vote_and_no_reward() -> None:
    assert scores("number", "no idea", "none", "well", "7") == [0, 0, 0, 1]
    assert scores("gsm8k", "7", "7", "#### 8") == [0, 0, 1]
    assert scores("boxed", r"\boxed{", "7", r"\boxed{}", r"\boxed{8}") == [0, 0, 0, 1]


def test_a_group_in_which_nothing_can_be_read_gets_nothing() -> None:
    for verdict in judge("number", "none", "no idea", label=7):
        assert (verdict.score, verdict.accuracy, verdict.error) == (0, 0, "")
        assert verdict.metrics == {"majority_share": 0, "majority_right": 0}


@pytest.mark.parametrize(
    ("rule", "responses", "label", "right"),
    [
        ("number", ("7", "7.0", "8"), "7", 1.0),
        ("number", ("7", "7.0", "8"), 8, 0.0),
        ("number", ("1/2 of 6 is 3", "3"), "3.00", 1.0),
        ("gsm8k", ("#### 7", "#### 8", "#### $7.00"), "3 + 4 = 7\n#### 7", 1.0),
        ("gsm8k", ("#### 8", "#### 8", "#### 7"), 7, 0.0),
        ("number", ("7", "7"), None, None),
        ("number", ("7", "7"), "seven", None),
        ("boxed", (r"\boxed{7}", r"\boxed{7}"), "7", None),
    ],
)
def test_the_metrics_say_whether_the_majority_is_right_where_the_rule_can_tell(
    rule: str, responses: tuple[str, ...], label: object, right: float | None
) -> None:
    assert [verdict.metrics.get("majority_right") for verdict in judge(rule, *responses, label=label)] == [right] * len(
        responses
    )


VOTERS = "boxed, geo3k, gsm8k, multiple_choice, number"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("format", f"which are not read by the rule 'format'; rules that can vote: {VOTERS}$"),
        ("reasoning_gym", f"which are not read by the rule 'reasoning_gym'; rules that can vote: {VOTERS}$"),
        ("nunber", f"there is no rule 'nunber'; rules that can vote: {VOTERS}$"),
    ],
)
def test_a_rule_that_cannot_vote_is_refused_by_the_names_of_those_that_can(rule: str, message: str) -> None:
    with pytest.raises(RewardSetupError, match=message):
        MajorityVote(rule)


@pytest.mark.parametrize(
    ("rule", "one", "responses"),
    [
        ("number", "3", ["3", "so 3.0", "$3.00", "03", "6/2", "first 5, then 3."]),
        ("number", "-1234", ["-1,234", "\u22121234.0", "-$1,234", "-1.234e3"]),
        ("number", "1/2", ["0.5", ".5", "2/4", "50e-2"]),
        ("number", "0", ["0", "-0", "0.00", "0/7"]),
        ("gsm8k", "72", ["5\n#### 72", "#### 5\n#### $72.0\n9", "#### 72 of 80"]),
        ("boxed", "1/2", [r"\boxed{\frac{1}{2}}", r"\boxed{\dfrac12}", r"\boxed{$0.5$}", r"\boxed{\tfrac {1} {2}.}"]),
        ("boxed", "-3/4", [r"\boxed{-\frac{3}{4}}", r"\boxed{\frac{-3}4}", r"\boxed{- 0.75}"]),
        ("boxed", "1234", [r"\boxed{1,234}", r"\boxed{1{,}234}", r"\boxed{1\,234}", r"\boxed{\$1234.0}"]),
        ("boxed", "(1,2)", [r"\boxed{(1, 2)}", r"\boxed{\left( 1,\; 2 \right)}", r"\boxed{5} or \boxed{(1,~2)}"]),
        ("boxed", "B", [r"\boxed{B}", r"\boxed{\text{B}}", r"\boxed{\mathrm { B }.}"]),
        ("boxed", "x^2+1", [r"\boxed{x^2+1}", r"\boxed{x^{2} + 1}", r"$\boxed{\displaystyle x^2 + 1}$"]),
    ],
)
def test_an_answer_has_one_form_however_it_is_written(rule: str, one: str, responses: list[str]) -> None:
    assert {response: extract(rule, response) for response in responses} == dict.fromkeys(responses, one)


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        ("number", "0.1", "0.10000000000000001"),
        ("number", "3", "-3"),
        ("boxed", r"\boxed{2 3}", r"\boxed{23}"),
        ("boxed", r"\boxed{1, 234}", r"\boxed{1234}"),
        ("boxed", r"\boxed{x^{23}}", r"\boxed{x^2 3}"),
        ("boxed", r"\boxed{\frac{1}{23}}", r"\boxed{\frac{12}{3}}"),
        ("boxed", r"\boxed{1 \\, 234}", r"\boxed{1\,234}"),
        ("boxed", r"\boxed{\leftarrow}", r"\boxed{arrow}"),
    ],
)
def test_different_answers_have_different_forms(rule: str, one: str, other: str) -> None:
    assert extract(rule, one) != extract(rule, other)


@pytest.mark.parametrize(("rule", "wrap"), [("number", "{}"), ("gsm8k", "#### {}")])
@given(text=st.text("0123456789.,/e-$ x", max_size=30))
def test_the_form_of_a_number_is_the_number_itself(rule: str, wrap: str, text: str) -> None:
    answer = extract(rule, wrap.format(text))
    if answer is not None:
        assert RULES[rule].score(wrap.format(text), answer) == 1.0
        assert extract(rule, wrap.format(answer)) == answer


@given(st.text() | st.text(r"\{}$ 12,/.fractextlef^_~"))
def test_any_text_can_be_in_a_box(content: str) -> None:
    form = extract("boxed", r"\boxed{" + content + "}")
    assert form is None or form


@pytest.mark.parametrize("rule", ["number", "gsm8k", "boxed"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_text_is_read_in_no_time(rule: str, hostile: str) -> None:
    text = HOSTILE[hostile]
    responses = [text, f"#### {text}", r"\boxed{" + text + "}", r"\boxed{" + text, "#### 7 is \\boxed{7}"]
    start = time.process_time()
    judge(rule, *responses, label=7)
    assert time.process_time() - start < 1


def test_a_number_beyond_all_bounds_is_not_read() -> None:
    assert extract("number", "9" * 1001) is None
    assert extract("number", "9" * 1000) == "9" * 1000
    assert extract("number", "0." + "1" * 990 + "e-999") is not None


def test_reading_a_box_loads_no_library_of_mathematics() -> None:
    program = """if True:
        import sys
        from lightrft_rewards import RULES
        assert RULES["boxed"].extract(r"\\\\boxed{7}") == "7"
        print(*sys.modules)
    """
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"math_verify", "sympy", "torch", "lightrft_core"}.isdisjoint(loaded)

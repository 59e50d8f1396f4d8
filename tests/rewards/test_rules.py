"""The rules, called directly."""

from __future__ import annotations

from decimal import Decimal

import pytest
import reasoning_gym
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards import RULES, LabelError
from lightrft_rewards.rules.boxed import last_box

NUMBER_CASES = [
    ("the answer is 72", "72", 1.0),
    ("the answer is 72.", 72, 1.0),
    ("it costs $1,234.50 in all", "1234.5", 1.0),
    ("it costs \\$5", "$5", 1.0),
    ("a loss of -$5", -5, 1.0),
    ("a loss of $-5", "-5", 1.0),
    ("x = -3", "-3", 1.0),
    ("x = \u22123", -3, 1.0),
    ("3.0", 3, 1.0),
    ("3", "3.00", 1.0),
    (".5", 0.5, 1.0),
    ("one half is 1/2", 0.5, 1.0),
    ("1/2 is 2/4", "1/2", 1.0),
    ("1e3 metres", 1000, 1.0),
    ("10-7", 7, 1.0),
    ("f(2)-4", 4, 1.0),
    ("1, 2, 3", 3, 1.0),
    ("100,2000", 2000, 1.0),
    ("first 72, then 73", "72", 0.0),
    ("72", "-72", 0.0),
    ("0.1", 0.1, 1.0),
    ("0.10000000000000001", 0.1, 0.0),
    ("5 and then x2 or H2O", 5, 1.0),
    ("**42**", 42, 1.0),
    ("\u7b54\u6848\u662f5", 5, 1.0),
    ("no number at all", 0, 0.0),
    ("", "0", 0.0),
    ("9" * 6000, 3, 0.0),
    ("1e999999999999", 3, 0.0),
]


@pytest.mark.parametrize(("response", "label", "reward"), NUMBER_CASES)
def test_number_compares_the_last_number_exactly(response: str, label: object, reward: float) -> None:
    assert RULES["number"].score(response, label) == reward


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3))
def test_number_reads_any_decimal_however_it_is_written(value: Decimal) -> None:
    for written in (f"{value}", f"{value:,}", f"{value:+}", f"so it is {value}."):
        assert RULES["number"].score(written, str(value)) == 1.0
        assert RULES["number"].score(written, str(value + 1)) == 0.0


@given(st.text(), st.integers())
def test_number_gives_any_text_without_trouble_zero_or_one(response: str, label: int) -> None:
    assert RULES["number"].score(response, label) in (0.0, 1.0)


@pytest.mark.parametrize("rule", ["number", "gsm8k"])
@pytest.mark.parametrize("label", [None, "", "seven", "7 apples", True, [7], {"a": 7}, float("nan"), float("inf")])
def test_a_label_that_is_no_number_is_an_error(rule: str, label: object) -> None:
    with pytest.raises(LabelError, match=f"rule {rule} needs a number as its label"):
        RULES[rule].score("7", label)


@pytest.mark.parametrize(
    ("response", "label", "reward"),
    [
        ("3 + 4 = 7\n#### 7", "7", 1.0),
        ("#### 5\nno, wait\n#### 7", 7, 1.0),
        ("#### $1,200.00 in total", "1200", 1.0),
        ("#### 7\nchecked 3 times", 7, 1.0),
        ("3 + 4 = 7", 7, 0.0),
        ("#### seven", 7, 0.0),
        ("#### 7\n####", 7, 0.0),
        ("#### 7", "3 + 4 = <<3+4=7>>7\n#### 7", 1.0),
        ("#### 4", "3 + 4 = <<3+4=7>>7\n#### 7", 0.0),
    ],
)
def test_gsm8k_compares_the_number_after_the_last_hashes(response: str, label: object, reward: float) -> None:
    assert RULES["gsm8k"].score(response, label) == reward


@pytest.mark.parametrize(
    ("response", "label", "reward"),
    [
        (r"so \boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"so \boxed{0.5}", r"$\frac12$", 1.0),
        (r"\boxed{1+x}", "x + 1", 1.0),
        (r"\boxed{\sqrt{2}}", r"2^{1/2}", 1.0),
        (r"\boxed{\{2, 1\}}", r"\{1, 2\}", 1.0),
        (r"\boxed{\text{B}}", "B", 1.0),
        (r"\boxed {7}", 7, 1.0),
        (r"\boxed{3} and then \boxed{4}", "4", 1.0),
        (r"\boxed{3} and then \boxed{4}", "3", 0.0),
        (r"\boxed{4} and then \boxed{5", "4", 1.0),
        (r"\boxed{4}", r"We find \boxed{4}.", 1.0),
        (r"\boxed{5}", 4.0, 0.0),
        (r"\boxed{}", "4", 0.0),
        ("4", "4", 0.0),
    ],
)
def test_boxed_compares_the_last_box_as_mathematics(response: str, label: object, reward: float) -> None:
    assert RULES["boxed"].score(response, label) == reward


@pytest.mark.parametrize("label", [None, "", "  ", True, ["4"], {"answer": "4"}])
def test_boxed_needs_an_expression_as_its_label(label: object) -> None:
    with pytest.raises(LabelError, match="rule boxed needs an expression"):
        RULES["boxed"].score(r"\boxed{4}", label)


BALANCED = st.recursive(
    st.sampled_from(["", "a", r"\{", r"\}", r"\frac"]),
    lambda inner: st.lists(inner).map("".join) | inner.map("{{{}}}".format),
    max_leaves=10,
)


@given(BALANCED, st.text("a{ "))
def test_the_whole_balanced_content_of_a_box_is_found(content: str, before: str) -> None:
    assert last_box(before + r"\boxed{" + content + "} after") == content


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("\n<think>\na\n</think>\n\n<answer>\nb\n</answer>\n", 1.0),
        ("<think>a</think> so <answer>b</answer>", 0.0),
        ("well <think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer> done", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("<think><answer>a</think></answer>", 0.0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>b</answer>", 0.0),
        ("<think>a<answer>b</answer>", 0.0),
        ("b", 0.0),
        ("", 0.0),
    ],
)
def test_format_wants_one_thought_then_one_answer_and_nothing_else(response: str, reward: float) -> None:
    assert RULES["format"].score(response, None) == reward


def test_reasoning_gym_scores_with_the_tasks_own_scorer() -> None:
    entry = reasoning_gym.create_dataset("chain_sum", size=1, seed=1)[0]
    label = {"task": "chain_sum", "entry": entry}
    score = RULES["reasoning_gym"].score
    assert score(entry["answer"], label) == 1.0
    assert score(f"<think>12</think> <answer>0</answer> or rather <answer> {entry['answer']} </answer>", label) == 1.0
    assert score("<answer>no idea</answer>", label) < 1.0


@pytest.mark.parametrize("label", [None, "chain_sum", {"task": "chain_sum"}, {"task": 3, "entry": {}}])
def test_reasoning_gym_needs_a_task_and_an_entry(label: object) -> None:
    with pytest.raises(LabelError, match="rule reasoning_gym needs a label such as"):
        RULES["reasoning_gym"].score("4", label)


def test_reasoning_gym_names_a_task_it_does_not_know() -> None:
    with pytest.raises(LabelError, match="knows no task 'chain_summ'"):
        RULES["reasoning_gym"].score("4", {"task": "chain_summ", "entry": {}})


def test_only_the_format_rules_do_not_measure_accuracy() -> None:
    formal = {"format", "boxed_format", "judgement_format", "regex", "json_schema", "target_length", "repetition"}
    assert {name for name, rule in RULES.items() if not rule.measures_accuracy} == formal


def test_reasoning_gym_calls_an_answer_its_scorer_cannot_read_wrong() -> None:
    entry = reasoning_gym.create_dataset("prime_factorization", size=1, seed=1)[0]
    label = {"task": "prime_factorization", "entry": entry}
    assert RULES["reasoning_gym"].score("no idea", label) == 0
    assert RULES["reasoning_gym"].score(entry["answer"], label) == 1

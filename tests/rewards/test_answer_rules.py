"""The rules for geometry and for multiple choice, called directly."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_rewards import RULES, LabelError

GEOMETRY_CASES = [
    (r"so \boxed{2\sqrt{221}}", r"2 \sqrt { 221 }", 1.0),
    (r"\boxed{12π}", r"12 \pi", 1.0),
    (r"\boxed{36√3}", r"36 \sqrt { 3 }", 1.0),
    (r"\boxed{\frac{4}{\sqrt{3}}}", r"\frac { 4 \sqrt { 3 } } { 3 }", 1.0),
    (r"\boxed{374.10}", "374.1", 1.0),
    (r"\boxed{1,440}", 1440, 1.0),
    (r"\boxed{120^\circ}", "120", 1.0),
    (r"\boxed{120^{\circ}}", "120", 1.0),
    (r"\boxed{120°}", "120", 1.0),
    (r"\boxed{120 degrees}", "120", 1.0),
    (r"\boxed{120\text{ degrees}}", r"120^\circ", 1.0),
    (r"\boxed{x = 120^\circ}", "120", 1.0),
    (r"\boxed{m\angle A = 50}", "50", 1.0),
    (r"\boxed{\sqrt{75} \approx 8.66}", "8.66", 1.0),
    (r"\boxed{5 cm}", "5", 1.0),
    (r"\boxed{5\text{ cm}}", "5 cm", 1.0),
    (r"\boxed{5\,\mathrm{centimeters}}", "5 cm", 1.0),
    (r"\boxed{420\ \text{cm}^2}", "420", 1.0),
    (r"\boxed{420 cm²}", r"420 \text{ square centimeters}", 1.0),
    (r"\boxed{420 \text{ sq. ft}}", "420 ft^2", 1.0),
    (r"\boxed{25 square units}", "25 in^2", 1.0),
    (r"\boxed{5 cm}", "5 m", 0.0),
    (r"\boxed{5 cm}", "5 cm^2", 0.0),
    (r"\boxed{x+2}", "2+x", 1.0),
    ("<answer>120°</answer>", "120", 1.0),
    (r"<answer>It is \boxed{120}.</answer>", "120", 1.0),
    ("<answer>100</answer> no, <answer>120</answer>", "120", 1.0),
    (r"<think>\boxed{120}</think> \boxed{100}", "120", 0.0),
    (r"<think>\boxed{120}</think> I do not know", "120", 0.0),
    (r"<think>\boxed{120}", "120", 0.0),
    (r"<think>it is 100</think> \boxed{120}", "120", 1.0),
    (r"\boxed{120} in the question, but <answer>100</answer>", "120", 0.0),
    ("120", "120", 0.0),
    (r"\boxed{120 or 60}", "120", 0.0),
    (r"\boxed{60, 120}", "120", 0.0),
    (r"\boxed{374.12}", "374.1", 0.0),
    (r"\boxed{216\sqrt{3}}", "374.1", 0.0),
    (r"\boxed{-5}", "5", 0.0),
    (r"\boxed{}", "5", 0.0),
    (r"\boxed{cm}", "5", 0.0),
    ("", "5", 0.0),
]


@pytest.mark.parametrize(("response", "label", "reward"), GEOMETRY_CASES)
def test_geo3k_compares_the_final_answer_as_mathematics(response: str, label: object, reward: float) -> None:
    assert RULES["geo3k"].score(response, label) == reward


@pytest.mark.parametrize("label", [None, "", " ", True, ["4"], {"answer": "4"}, "°"])
def test_geo3k_needs_an_expression_as_its_label(label: object) -> None:
    with pytest.raises(LabelError, match="rule geo3k"):
        RULES["geo3k"].score(r"\boxed{4}", label)


@settings(max_examples=25)
@given(st.integers(1, 999), st.sampled_from(["", "^\\circ", "°", " cm", " square units", "\\text{ m}^2", " degrees"]))
def test_geo3k_reads_a_number_in_any_unit_and_tells_it_from_another(number: int, unit: str) -> None:
    for written in (
        rf"\boxed{{{number}{unit}}}",
        f"<answer>{number}{unit}</answer>",
        rf"\boxed{{$x = {number}${unit}}}",
    ):
        assert RULES["geo3k"].score(written, str(number)) == 1.0, written
        assert RULES["geo3k"].score(written, str(number + 1)) == 0.0, written


@settings(max_examples=25)
@given(st.text(max_size=40))
def test_geo3k_gives_any_text_zero_without_a_mark(text: str) -> None:
    if r"\boxed" not in text and "<answer>" not in text:
        assert RULES["geo3k"].score(text + " 7", "7") == 0.0


def test_geo3k_answers_that_read_the_same_are_counted_together() -> None:
    extract = RULES["geo3k"].extract
    assert extract is not None
    said = [r"\boxed{120^\circ}", r"\boxed{x = 120}", "<answer>120.0 cm</answer>", r"<think>5</think>\boxed{ 120° }"]
    assert {extract(each) for each in said} == {"120"}
    assert extract(r"<think>\boxed{120}</think>") is None


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        (r"<think>a</think> It is \boxed{4}.", 1.0),
        (r"<think>\boxed{3}</think>\boxed{4}", 1.0),
        (r"<think>\boxed{4}</think> 4", 0.0),
        (r"\boxed{4}", 0.0),
        (r"<think>a</think> \boxed{4} \boxed{5}", 0.0),
        (r"<think>a</think><think>b</think> \boxed{4}", 0.0),
        (r"x <think>a</think> \boxed{4}", 0.0),
        (r"<think>a</think> \boxed{}", 0.0),
        (r"<think>a</think> \boxed{4", 0.0),
        ("", 0.0),
    ],
)
def test_boxed_format_wants_one_thought_and_one_box_behind_it(response: str, reward: float) -> None:
    assert RULES["boxed_format"].score(response, None) == reward


ANIMALS = {"choices": ["a dog", "a cat", "two cats", "A bird."], "answer": 1}
KEYS = {"choices": ["C", "A", "G", "D"], "answer": 1}
BACH = {"choices": ["J. S. Bach", "C. Debussy", "A. Dvorak"], "answer": 1}

CHOICE_CASES = [
    ("<answer>B</answer>", ANIMALS, 1.0),
    ("<answer> (b) </answer>", ANIMALS, 1.0),
    ("<answer>B.</answer>", ANIMALS, 1.0),
    ("<answer>**B**</answer>", ANIMALS, 1.0),
    ("<answer>a cat</answer>", ANIMALS, 1.0),
    ("<answer>A CAT.</answer>", ANIMALS, 1.0),
    ("<answer>B. a cat</answer>", ANIMALS, 1.0),
    ("<answer>(B) A cat</answer>", ANIMALS, 1.0),
    ("<answer>The answer is B</answer>", ANIMALS, 1.0),
    (r"so \boxed{B}", ANIMALS, 1.0),
    (r"\boxed{\text{a cat}}", ANIMALS, 1.0),
    ("B", ANIMALS, 1.0),
    ("It meows.\nThe correct answer is: (B) a cat", ANIMALS, 1.0),
    ("It meows.\n\nAnswer: B\n", ANIMALS, 1.0),
    ("<think>A</think>Option B", ANIMALS, 1.0),
    ("<answer>A</answer> no, <answer>B</answer>", ANIMALS, 1.0),
    ("<answer>A</answer>", ANIMALS, 0.0),
    ("<answer>two cats</answer>", ANIMALS, 0.0),
    ("<answer>cat</answer>", ANIMALS, 0.0),
    ("<answer>A, B</answer>", ANIMALS, 0.0),
    ("<answer>A B</answer>", ANIMALS, 0.0),
    ("<answer>A or B</answer>", ANIMALS, 0.0),
    ("<answer>AB</answer>", ANIMALS, 0.0),
    ("<answer>(A)(B)</answer>", ANIMALS, 0.0),
    ("<answer>A. a cat</answer>", ANIMALS, 0.0),
    ("<answer>B. a dog</answer>", ANIMALS, 0.0),
    ("<answer>B. a cat, or A. a dog</answer>", ANIMALS, 0.0),
    ("<answer>a dog a cat two cats a bird</answer>", ANIMALS, 0.0),
    ("<answer></answer>", ANIMALS, 0.0),
    ("<answer>F</answer>", ANIMALS, 0.0),
    ("It is B, I think", ANIMALS, 0.0),
    ("B\nNo: A", ANIMALS, 0.0),
    ("<think>B</think>", ANIMALS, 0.0),
    ("<think>so <answer>B</answer>", ANIMALS, 0.0),
    ("What is it?\nA. a dog\nB. a cat\nC. two cats\nD. A bird.", ANIMALS, 0.0),
    ("A. a dog B. a cat C. two cats D. A bird.", ANIMALS, 0.0),
    ("", ANIMALS, 0.0),
    ("<answer>(B)</answer>", KEYS, 1.0),
    ("<answer>B. A</answer>", KEYS, 1.0),
    ("<answer>B</answer>", KEYS, 1.0),
    ("<answer>A</answer>", KEYS, 0.0),
    ("<answer>A</answer>", {**KEYS, "answer": 0}, 0.0),
    ("<answer>G</answer>", {**KEYS, "answer": 2}, 1.0),
    ("<answer>(A)</answer>", KEYS, 0.0),
    ("<answer>C. Debussy</answer>", BACH, 1.0),
    ("<answer>B. C. Debussy</answer>", BACH, 1.0),
    ("<answer>J. S. Bach</answer>", BACH, 0.0),
    ("<answer>Choice cuts</answer>", {"choices": ["Choice cuts", "cuts"], "answer": 0}, 1.0),
    ("<answer>Option cuts</answer>", {"choices": ["Choice cuts", "cuts"], "answer": 1}, 1.0),
    ("<answer>same</answer>", {"choices": ["same", "other", "Same"], "answer": 2}, 1.0),
    ("<answer>A</answer>", {"choices": ["same", "other", "Same"], "answer": 2}, 1.0),
    ("<answer>B</answer>", "B", 1.0),
    ("<answer>(b) whatever</answer>", " b ", 1.0),
    ("<answer>B. this, not C. that</answer>", "B", 0.0),
    ("<answer>A</answer>", "B", 0.0),
]


@pytest.mark.parametrize(("response", "label", "reward"), CHOICE_CASES)
def test_multiple_choice_wants_the_right_choice_and_no_other(response: str, label: object, reward: float) -> None:
    assert RULES["multiple_choice"].score(response, label) == reward


@pytest.mark.parametrize("separator", [" ", ", ", " or ", "/", "\n", "", ") (", "."])
def test_several_letters_are_no_answer_whichever_is_right(separator: str) -> None:
    score = RULES["multiple_choice"].score
    for count in (2, 3, 4):
        for letters in permutations("ABCD", count):
            said = f"<answer>({separator.join(letters)})</answer>"
            assert [score(said, {**ANIMALS, "answer": answer}) for answer in range(4)] == [0.0] * 4, said


LETTERS = st.sampled_from("ABCD")


@given(st.text(max_size=60), LETTERS, LETTERS)
def test_what_is_thought_or_quoted_before_the_answer_does_not_count(before: str, said: str, right: str) -> None:
    label = {**ANIMALS, "answer": "ABCD".index(right)}
    question = "What is it? A. a dog B. a cat C. two cats D. A bird. <answer>" + right + "</answer>"
    thought = f"<think>{question} {before.replace('<', '')}</think><answer>{said}</answer>"
    assert RULES["multiple_choice"].score(thought, label) == float(said == right)
    assert RULES["multiple_choice"].score(f"{question}\n<answer>{said}</answer>", label) == float(said == right)


@given(st.text(), st.integers(0, 3))
def test_multiple_choice_gives_any_text_without_trouble_zero_or_one(response: str, answer: int) -> None:
    assert RULES["multiple_choice"].score(response, {**ANIMALS, "answer": answer}) in (0.0, 1.0)
    extract = RULES["multiple_choice"].extract
    assert extract is not None
    extract(response)


WORDS = st.text(st.characters(categories=["L"]), min_size=2, max_size=12)


@given(st.lists(WORDS, min_size=2, max_size=6, unique_by=str.casefold))
def test_every_way_to_name_a_choice_names_that_one_alone(choices: list[str]) -> None:
    for said, choice in enumerate(choices):
        letter = "ABCDEF"[said]
        for written in (letter, f"({letter})", f"{letter}. {choice}", choice, f"The answer is {letter}"):
            rewards = [
                RULES["multiple_choice"].score(f"<answer>{written}</answer>", {"choices": choices, "answer": right})
                for right in range(len(choices))
            ]
            assert rewards == [float(right == said) for right in range(len(choices))], written


@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "a cat",
        3,
        ["a", "b"],
        {"choices": ["a"]},
        {"choices": ["a", "b"], "answer": 2},
        {"choices": ["a", "b"], "answer": -1},
        {"choices": ["a", "b"], "answer": True},
        {"choices": ["a", ""], "answer": 0},
        {"choices": ["a", 1], "answer": 0},
        {"choices": [], "answer": 0},
    ],
)
def test_multiple_choice_needs_choices_and_the_number_of_one(label: object) -> None:
    with pytest.raises(LabelError, match="rule multiple_choice needs a label such as"):
        RULES["multiple_choice"].score("<answer>A</answer>", label)


def test_choices_that_read_the_same_are_counted_together() -> None:
    extract = RULES["multiple_choice"].extract
    assert extract is not None
    said = ["<answer>B</answer>", "<answer>(b) a cat</answer>", "The answer is B.", r"\boxed{\text{B}}"]
    assert {extract(each) for each in said} == {"B"}
    assert extract("<answer>A cat.</answer>") == "a cat"
    assert extract("<think>B</think>") is None

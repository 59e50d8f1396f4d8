"""The rules on form: regular expressions, JSON schemas, length and repetition; and rules that take an argument."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards import RULES, LabelError, RewardPool, RewardSetupError, Sample, Scoring, find_rule, parse_routes
from lightrft_rewards.rules.measures import words

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}, "why": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("response", "pattern", "reward"),
    [
        ("So: 42", r"So: \d+", 1.0),
        (" So: 42\n", r"So: \d+", 1.0),
        ("So: 42!", r"So: \d+", 0.0),
        ("a\nb", r"a.b", 0.0),
        ("a\nb", r"(?s)a.b", 1.0),
        ("<think>x</think>y", r"(?s)<think>.+</think>[^<]+", 1.0),
        ("", r".*", 1.0),
    ],
)
def test_regex_wants_the_whole_answer_to_match(response: str, pattern: str, reward: float) -> None:
    assert RULES["regex"].score(response, pattern) == reward
    assert RULES["regex"].score(response, {"regex": pattern}) == reward


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ('{"answer": 4}', 1.0),
        ('```json\n{"answer": 4, "why": "so"}\n```', 1.0),
        ('First\n```json\n{"answer": "x"}\n```\nor rather\n```\n{"answer": 4}\n```\nDone.', 1.0),
        ('```json\n{"answer": 4}\n```\n```json\n{"answer": "x"}\n```', 0.0),
        ('<think>{"answer": "x"}</think>\n<answer>{"answer": 4}</answer>', 1.0),
        ('<think>```json\n{"answer": 4}\n```</think> no', 0.0),
        ('{"answer": 4.5}', 0.0),
        ('{"why": "so"}', 0.0),
        ('{"answer": 4, "more": 1}', 0.0),
        ('{"answer": NaN}', 0.0),
        ("[" * 100_000, 0.0),
        ('so {"answer": 4}', 0.0),
        ("", 0.0),
    ],
)
def test_json_schema_wants_the_last_json_to_satisfy_it(response: str, reward: float) -> None:
    for label in (SCHEMA, {"json_schema": SCHEMA}, json.dumps(SCHEMA)):
        assert RULES["json_schema"].score(response, label) == reward


@pytest.mark.parametrize(
    ("rule", "label", "says"),
    [
        ("regex", None, "needs a regular expression"),
        ("regex", "", "needs a regular expression"),
        ("regex", {"pattern": "x"}, "needs a regular expression"),
        ("regex", "(", "cannot read its label's regular expression"),
        ("json_schema", None, "needs a JSON schema"),
        ("json_schema", "{", "needs a JSON schema"),
        ("json_schema", {"type": "number or so"}, "it is no JSON schema: 'number or so'"),
        ("json_schema", {"properties": {"x": {"$ref": "http://127.0.0.1:1/x.json"}}}, "refers to another document"),
        ("json_schema", {"allOf": [{"$ref": "file:///etc/passwd"}]}, "refers to another document"),
        ("target_length", 200, "needs a label such as"),
        ("target_length", {"target_length": "many"}, "needs a label such as"),
        ("target_length", {"target_length": 0}, "needs a label such as"),
        ("target_length", {"target_length": "300-100"}, "needs a label such as"),
    ],
)
def test_a_label_that_cannot_be_read_is_an_error(rule: str, label: Any, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        RULES[rule].score("{}", label)


def test_a_schema_may_refer_to_its_own_parts() -> None:
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}
    assert RULES["json_schema"].score("[[], [[]]]", tree) == 1.0
    assert RULES["json_schema"].score("[[], [1]]", tree) == 0.0
    assert RULES["json_schema"].score('{"$ref": 1}', {"properties": {"$ref": {"type": "string"}}}) == 0.0


@pytest.mark.parametrize(
    ("count", "wanted", "reward"),
    [
        (10, 10, 1.0),
        (5, 10, 0.5),
        (15, 10, 0.5),
        (20, 10, 0.0),
        (99, 10, 0.0),
        (0, 10, 0.0),
        (10, "10-20", 1.0),
        (20, "10-20", 1.0),
        (15, "10-20", 1.0),
        (5, "10-20 words", 0.5),
        (30, "10-20words", 0.5),
        (10, "20-40 characters", 1.0),
        (5, "20-40 characters", 0.5),
    ],
)
def test_length_is_paid_by_its_nearness_on_both_sides(count: int, wanted: Any, reward: float) -> None:
    text = "ab" * count if "characters" in str(wanted) else "ab " * count
    assert RULES["target_length"].score(text, {"target_length": wanted}) == reward


@given(st.integers(1, 20), st.integers(0, 45))
def test_no_length_is_paid_more_than_one_nearer_to_the_target(target: int, count: int) -> None:
    rule = find_rule(f"target_length@{target}")
    here = rule.score("x " * count, None)
    assert 0 <= here <= 1
    assert (here == 1) == (count == target)
    for nearer in range(min(count, target), max(count, target) + 1):
        assert rule.score("x " * nearer, None) >= here


def test_words_are_runs_of_letters_and_single_characters_of_scripts_without_spaces() -> None:
    assert words("It's 3.5 km, na\u00efve-ly: \u4f60\u597dworld \u3042\uac00!") == [
        *("It's", "3", "5", "km", "na\u00efve", "ly", "\u4f60", "\u597d", "world", "\u3042", "\uac00")
    ]


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("a b c d e f", 0.0),
        ("a b c d a b c d", -1 / 5),
        ("a b c d a b c D", -1 / 5),
        ("a a a a a a", -2 / 3),
        ("la " * 203, 1 / 200 - 1),
        ("a b c", 0.0),
        ("", 0.0),
    ],
)
def test_repetition_costs_the_share_of_words_said_before(response: str, reward: float) -> None:
    assert RULES["repetition"].score(response, "any") == pytest.approx(reward, abs=1e-12)


@given(st.text("ab \u4f60"), st.integers(1, 4))
def test_repetition_is_never_above_0_and_saying_all_again_never_costs_less(text: str, n: int) -> None:
    rule = find_rule(f"repetition@{n}")
    once, twice = rule.score(text, None), rule.score(f"{text} {text}", None)
    assert -1 < twice <= once <= 0


def test_an_argument_takes_the_place_of_the_label(tmp_path: Path) -> None:
    (tmp_path / "form.txt").write_text("(?s)So: .+\n")
    (tmp_path / "answer.json").write_text(json.dumps(SCHEMA))
    files = f"regex@{tmp_path}/form.txt:0.5,json_schema@{tmp_path}/answer.json"
    scoring = Scoring(routes=parse_routes(f"number:1,{files},target_length@2-3,repetition@1:0.25"))
    with RewardPool(scoring, num_workers=1) as pool:
        [[said, written]] = pool.score([[Sample("So: 4 4", 4), Sample('{"answer": 4}', 4)]])
    assert list(said.parts.values()) == pytest.approx([1.0, 1.0, 0.0, 1.0, -1 / 3])
    assert said.score == pytest.approx(1 + 0.5 + 1 - 0.25 / 3)
    assert list(written.parts.values()) == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert (said.accuracy, written.accuracy) == (1.0, 1.0)
    before = scoring.fingerprint()
    (tmp_path / "form.txt").write_text("other")
    assert scoring.fingerprint() != before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("number@3", "rule number takes no argument"),
        ("number@", "rule number takes no argument"),
        ("lenth@3", "there is no rule 'lenth'"),
        ("target_length@", "write it as target_length@200"),
        ("target_length@5-3", "write it as target_length@200"),
        ("repetition@0", "write the number of words"),
        ("repetition@x", "write the number of words"),
        ("regex@nowhere.txt", "the file cannot be read"),
        ("json_schema@nowhere.json", "the file cannot be read"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_before_anything_begins(spec: str, says: str) -> None:
    with pytest.raises(RewardSetupError, match=says):
        parse_routes(spec)


def test_files_with_nonsense_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("(")
    for rule, says in (("regex", "cannot be read: missing"), ("json_schema", "Expecting value")):
        with pytest.raises(RewardSetupError, match=f"rule {rule}@.*bad: .*{says}"):
            parse_routes(f"{rule}@{tmp_path / 'bad'}")

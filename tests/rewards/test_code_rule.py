"""The rules `code` and `code_share`: programs in answers, and the tests of every form of label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightrft_rewards import RULES, LabelError, RewardPool, Sample, Scoring, parse_routes
from lightrft_rewards.rules.code import last_block, same_output
from lightrft_rewards.rules.code_tests import AssertTest, CallTest, InputTest, read_tests

DOUBLE = "```python\nprint(2 * int(input()))\n```"
SQUARE = "def square(x):\n    return x * x"
STDIN_TESTS = [{"input": "2\n", "output": "4\n", "testtype": "stdin"}, {"input": "3", "output": "6"}]


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\nThat is all."


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("```python\na\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("first\n```python\na\n```\nthen\n```py\nb\nc\n```\n", "b\nc\n"),
        ("```python\na\n```\nprints\n```text\n4\n```", "a\n"),
        ("```python\na\n```\n```python\ncut of", "a\n"),
        ("````python\na\n```\nb\n````", "a\n```\nb\n"),
        ("~~~python\na\n~~~", "a\n"),
        ("1. so\n   ```Python title=x\n   a\n   ```", "   a\n"),
        ("```python\n```", ""),
        ("<think>```python\na\n```</think> so", None),
        ("<think>\n```python\na\n```\n</think>\n```python\nb\n```", "b\n"),
        ("print(4)", None),
        ("```python print(4)```", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_block_of_python(response: str, program: str | None) -> None:
    assert last_block(response) == program


CALLS = {"fn_name": "square", "inputs": [[2], [3]], "outputs": [4, [9]]}
LABELS: list[tuple[Any, str, str, float]] = [
    (STDIN_TESTS, "print(2 * int(input()))", "print(4)", 0.5),
    (json.dumps(STDIN_TESTS), "print(2 * int(input()))", "print(4)", 0.5),
    ({"inputs": ["2\n", ["3"]], "outputs": ["4", ["6"]]}, "print(2 * int(input()))", "print(4)", 0.5),
    ({"input_output": json.dumps({"inputs": ["2"], "outputs": ["4"]})}, "print(2 * int(input()))", "print(5)", 0.0),
    ({"public_test_cases": json.dumps(STDIN_TESTS)}, "print(2 * int(input()))", "print(4)", 0.5),
    (CALLS, SQUARE, "def square(x): return 4", 0.5),
    ({"input_output": json.dumps(CALLS)}, SQUARE, "def square(x): return 4", 0.5),
    (
        {"func_name": "add", "tests": [{"input": "[1, 2]\n3", "output": "[1, 2, 3]", "testtype": "functional"}]},
        "class Solution:\n    def add(self, xs: List[int], x: int):\n        print('noise')\n        return (*xs, x)",
        "class Solution:\n    def add(self, xs, x): return xs",
        0.0,
    ),
    (["assert square(2) == 4", "assert square(3) == 9"], SQUARE, "def square(x): return 4", 0.5),
    (
        {"test_list": ["assert isclose(root(4), 2)"], "test_imports": ["from math import isclose"]},
        "def root(x): return x ** 0.5",
        "def root(x): return x",
        0.0,
    ),
    (
        {"test": "def check(candidate):\n    assert candidate(3) == 9\n", "entry_point": "square"},
        SQUARE,
        "def square(x): return x",
        0.0,
    ),
    ("assert square(5) == 25\nassert square(1) == 1", SQUARE, "def square(x): return 25", 0.0),
]


@pytest.mark.parametrize(("label", "right", "wrong", "share"), LABELS)
def test_a_label_of_any_form_tells_right_programs_from_wrong_ones(
    label: Any, right: str, wrong: str, share: float
) -> None:
    assert RULES["code"].score(fenced(right), label) == 1.0
    assert RULES["code"].score(fenced(wrong), label) == 0.0
    assert RULES["code_share"].score(fenced(wrong), label) == share
    assert RULES["code"].score(right, label) == RULES["code_share"].score(right, label) == 0.0


def test_the_usual_imports_leave_the_builtins_alone() -> None:
    program = "def f(a: List[int]):\n    return pow(a[0], -1, 7) + gcd(4, 6) + len(Counter(a)) + sum(accumulate(a))"
    assert RULES["code"].score(fenced(program), {"fn_name": "f", "inputs": [[[3, 3]]], "outputs": [17]}) == 1.0


def test_labels_become_tests() -> None:
    assert read_tests(STDIN_TESTS).tests == [InputTest("2\n", "4\n"), InputTest("3", "6")]
    assert read_tests(CALLS).tests == [CallTest("square", [2], [4]), CallTest("square", [3], [[9], 9])]
    assert read_tests("assert True").tests == [AssertTest("assert True")]
    bounded = read_tests({"tests": STDIN_TESTS, "time_limit": 2, "memory_limit": 64, "tolerance": 1e-6})
    assert (bounded.time_limit, bounded.memory_limit, bounded.tolerance, len(bounded.tests)) == (2.0, 64.0, 1e-6, 2)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (None, "needs tests as its label"),
        (7, "needs tests as its label"),
        ({}, "needs tests as its label"),
        ([], "at least one test"),
        ("  ", "at least one test"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs, 0 outputs"),
        ([{"input": "1"}], "needs tests as its label"),
        ([{"input": "1", "output": "1", "testtype": "functional"}], "func_name"),
        ({"fn_name": "a b", "inputs": [], "outputs": []}, "name of a function"),
        ({"tests": STDIN_TESTS, "time_limit": 0}, "above 0 as its label's time_limit"),
        ({"tests": STDIN_TESTS, "memory_limit": "1G"}, "above 0 as its label's memory_limit"),
    ],
)
def test_a_label_without_readable_tests_is_an_error(label: Any, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        RULES["code"].score("no program", label)


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "same"),
    [
        ("1 2\n3\n", "1 2\n3", 0, True),
        ("1 2  \n3\n\n", "1 2\n3\n", 0, True),
        ("1  2", "1 2", 0, True),
        ("1\n2", "1 2", 0, False),
        ("a  b", "a b", 0, True),
        ("1.0", "1", 0, True),
        ("0.30000000000000004", "0.3", 0, False),
        ("0.30000000000000004", "0.3", 1e-9, True),
        ("1000001", "1000000", 1e-6, True),
        ("1000002", "1000000", 1e-6, False),
        ("nan", "nan", 0, True),
        ("NaN", "nan", 1, False),
        ("inf", "1e999", 1, False),
        ("", "\n", 0, True),
        ("YES", "yes", 0, False),
        (" 1", "1", 0, True),
        ("1\n\n2", "1\n2", 0, False),
        ("1_0", "10", 0, False),
    ],
)
def test_output_is_compared_by_lines_and_words(found: str, expected: str, tolerance: float, same: bool) -> None:
    assert same_output(found, expected, tolerance) == same


@pytest.mark.parametrize("way", ["raise SystemExit(0)", "import os; os._exit(0)", "exit()", "quit = exit; quit(0)"])
def test_an_answer_that_ends_before_its_tests_has_not_passed_them(way: str) -> None:
    for label in ("assert square(5) == 25", CALLS):
        assert RULES["code"].score(fenced(f"{SQUARE}\n{way}"), label) == 0.0
        assert RULES["code"].score(fenced(f"def square(x):\n    {way}"), label) == 0.0


def test_equal_to_everything_is_equal_to_nothing_that_is_compared_outside() -> None:
    program = "class Any(dict):\n    def __eq__(self, other): return True\ndef square(x): return Any()"
    assert RULES["code"].score(fenced(program), CALLS) == 0.0


def test_a_program_without_end_fails_its_test_and_is_not_run_on_the_others() -> None:
    label = {"tests": [{"input": str(number), "output": str(number)} for number in range(30)], "time_limit": 1}
    loops = "n = input()\nwhile n == '3': pass\nprint(n)"
    with RewardPool(Scoring(routes=parse_routes("code_share")), timeout=120, num_workers=1) as pool:
        [[outcome]] = pool.score([[Sample(fenced(loops), label)]])
    assert (outcome.score, outcome.error) == (3 / 30, "")


def test_tests_that_take_longer_than_a_sample_may_are_an_error_that_says_so() -> None:
    slow = "import time\ntime.sleep(0.4)\nprint(input())"
    label = {"tests": [{"input": str(number), "output": str(number)} for number in range(30)], "time_limit": 1}
    with RewardPool(Scoring(routes=parse_routes("code")), timeout=1.5, num_workers=1) as pool:
        [[outcome]] = pool.score([[Sample(fenced(slow), label, name="row 7")]])
    assert outcome.score is None
    assert "rule code on row 7: OutOfTime: its tests take longer than the 1.5 seconds" in outcome.error
    assert "raise --reward_timeout" in outcome.error


def test_hostile_answers_leave_the_worker_and_its_other_samples_alone() -> None:
    answers = ["import os\nwhile True: os.fork()", "import os, signal\nos.kill(os.getppid(), 9)", "x = [0] * 10 ** 10"]
    answers += ["import os\nos.closerange(0, 9999)", "import socket; socket.create_connection(('127.0.0.1', 1))"]
    samples = [Sample(fenced(answer), STDIN_TESTS) for answer in answers] + [Sample(DOUBLE, STDIN_TESTS)]
    with RewardPool(Scoring(routes=parse_routes("code")), timeout=120, num_workers=1) as pool:
        [outcomes] = pool.score([samples])
        worker = pool._workers[0].process.pid
        assert [outcome.score for outcome in outcomes] == [0.0] * 5 + [1.0]
    assert not Path(f"/proc/{worker}").exists()

"""Programs: the last code block of a response, run against tests in the sandbox."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from lightrft_rewards.deadline import sample_seconds
from lightrft_rewards.rules.code_tests import AssertTest, CallTest, CodeTests, InputTest, Test, read_tests
from lightrft_rewards.rules.tags import spoken
from lightrft_rewards.sandbox import Limits, Sandbox

_BLOCK = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\n`]*)\n(.*?)(?:^ {0,3}\1[`~]*[ \t]*$)", re.DOTALL | re.MULTILINE)
_PYTHON = {"", "python", "python3", "py"}

_USUAL = (
    "from typing import *; from collections import *; from functools import *; from itertools import *; "
    "from heapq import *; from bisect import *; from math import *; import collections, functools, itertools, heapq, "
    "bisect, math, re, string, random, operator, sys, typing; from builtins import *\n"
)
"""What problems that ask for a function take for granted."""

_CALL = """
def _call():
    import json, sys
    name, arguments = json.loads(sys.stdin.read())
    names = globals()
    owner = names["Solution"]() if hasattr(names.get("Solution"), name) else None
    returned = getattr(owner, name)(*arguments) if owner is not None else names[name](*arguments)
    print("\\n" + json.dumps(returned))

_call()
"""

_LONGEST_TEST = 4.0
_MARGIN = 0.1


class OutOfTime(Exception):
    """The tests of an answer take longer than judging a sample may; that is not the answer's fault."""


def code(response: str, label: Any) -> float:
    """1 if the response's program passes all tests of the label, else 0; what follows the first failure is not run.

    The program is the last fenced code block of Python, thoughts in <think> aside; without one the response gets 0.
    A test that reads standard output ignores blanks at the ends of lines and of the whole, and compares numbers as
    numbers. label: as read_tests has it; raises LabelError for another. Raises OutOfTime where the tests need more than
    a sample's deadline, SandboxRefusal where programs cannot be confined.
    """
    return float(all(_passes(response, read_tests(label))))


def code_share(response: str, label: Any) -> float:
    """The share of the label's tests that the response's program passes, as `code` has them. Those behind one that runs
    out of time are not run, and count as failed."""
    tests = read_tests(label)
    return sum(_passes(response, tests)) / len(tests.tests)


def prepare_code() -> None:
    """Start the sandbox. Raises SandboxRefusal where it cannot confine a program."""
    _sandbox()


def last_block(response: str) -> str | None:
    """The last fenced code block of Python (or of no language) that is closed, or None."""
    blocks = [found[3] for found in _BLOCK.finditer(spoken(response)) if _language(found[2]) in _PYTHON]
    return blocks[-1] if blocks else None


def _language(info: str) -> str:
    return "".join(info.split()[:1]).casefold()


def _sandbox() -> Sandbox:
    return _sandbox_of(os.getpid())


@lru_cache(maxsize=1)
def _sandbox_of(process: int) -> Sandbox:
    """Each process's own: a forked one must not use its parent's."""
    return Sandbox()


def _passes(response: str, tests: CodeTests) -> Iterator[bool]:
    """Of one test after another whether it is passed, up to the first that runs out of time."""
    program = last_block(response)
    deadline = time.monotonic() + sample_seconds() * (1 - _MARGIN)
    for test in tests.tests:
        passed = None if program is None else _passes_one(program, test, tests, deadline - time.monotonic())
        yield bool(passed)
        if passed is None:
            return


def _passes_one(program: str, test: Test, tests: CodeTests, left: float) -> bool | None:
    """Whether the program passes the test; None if it runs out of time. left: seconds that remain for the sample."""
    usual = max(1.0, min(_LONGEST_TEST, (sample_seconds() * (1 - _MARGIN) - 1) // 2))
    seconds = tests.time_limit or usual
    if left <= 0:
        raise _out_of_time()
    room = Limits().memory if tests.memory_limit is None else int(tests.memory_limit * (1 << 20))
    limits = Limits(cpu_seconds=math.ceil(seconds), wall_seconds=min(2 * seconds + 1, left), memory=room)
    run = _sandbox().run(
        program if isinstance(test, InputTest) or "from __future__" in program else _USUAL + program,
        stdin=_stdin(test),
        then=test.source if isinstance(test, AssertTest) else _CALL if isinstance(test, CallTest) else "",
        as_main=isinstance(test, InputTest),
        limits=limits,
    )
    if run.status == "timeout":
        if left < seconds:
            raise _out_of_time()
        return None
    if isinstance(test, InputTest):
        return run.status == "ok" and same_output(run.stdout, test.expected, tests.tolerance)
    if isinstance(test, AssertTest) or not run.finished:
        return run.finished
    return _returned(run.stdout, test, tests.tolerance)


def _stdin(test: Test) -> str:
    if isinstance(test, InputTest):
        return test.given
    return json.dumps([test.function, list(test.arguments)]) if isinstance(test, CallTest) else ""


def _returned(stdout: str, test: CallTest, tolerance: float) -> bool:
    """Whether the last line printed is what the function should have returned."""
    try:
        value = json.loads(stdout.rstrip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        return False
    return any(_alike(value, wanted, tolerance) for wanted in test.expected)


def _alike(value: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(lambda a, b: _alike(a, b, tolerance), value, wanted))
    if tolerance and isinstance(value, int | float) and isinstance(wanted, int | float):
        return abs(value - wanted) <= tolerance * max(1.0, abs(wanted))
    return bool(value == wanted)


def same_output(found: str, expected: str, tolerance: float = 0.0) -> bool:
    """Whether two texts hold the same lines, blanks at their ends aside, and blank lines at the end; words that differ
    may be the same number (1.0 and 1), or with a tolerance nearly so."""
    lines, wanted = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (found, expected))
    return len(lines) == len(wanted) and all(
        line == other or _same_words(line.split(), other.split(), tolerance)
        for line, other in zip(lines, wanted, strict=True)
    )


def _same_words(words: list[str], wanted: list[str], tolerance: float) -> bool:
    return len(words) == len(wanted) and all(
        word == other or _same_number(word, other, tolerance) for word, other in zip(words, wanted, strict=True)
    )


def _same_number(word: str, wanted: str, tolerance: float) -> bool:
    if "_" in word:
        return False
    try:
        value, right = Decimal(word), Decimal(wanted)
    except InvalidOperation:
        return False
    if not (value.is_finite() and right.is_finite()):
        return False
    return value == right or (
        tolerance > 0 and abs(float(value) - float(right)) <= tolerance * max(1.0, abs(float(right)))
    )


def _out_of_time() -> OutOfTime:
    return OutOfTime(
        f"its tests take longer than the {sample_seconds():g} seconds that judging a sample may take; "
        "raise --reward_timeout, or give the label a lower time_limit or fewer tests"
    )

"""Tests of a program, read from a label in any of the forms that data sets of programming problems have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrft_rewards.errors import LabelError

_FORMS = (
    'a list of {"input": ..., "output": ...} (LiveCodeBench), {"inputs": [...], "outputs": [...], "fn_name": ...} '
    '(APPS), a list of assert statements (MBPP), or {"test": ..., "entry_point": ...} (HumanEval)'
)


@dataclass(frozen=True)
class InputTest:
    """A program reads `given` from standard input and should write `expected`."""

    given: str
    expected: str


@dataclass(frozen=True)
class CallTest:
    """A function (or method of the class Solution) gets these arguments and should return one of `expected`; JSON."""

    function: str
    arguments: Sequence[Any]
    expected: Sequence[Any]


@dataclass(frozen=True)
class AssertTest:
    """Python source that should run to its end behind the program's own."""

    source: str


Test = InputTest | CallTest | AssertTest


@dataclass(frozen=True)
class CodeTests:
    """What a program has to pass. time_limit: seconds of processor time for each test; memory_limit: MiB; None for the
    sandbox's own. tolerance: how far a number may be off, as a share of the expected one where that is above 1."""

    tests: Sequence[Test]
    time_limit: float | None = None
    memory_limit: float | None = None
    tolerance: float = 0.0


def read_tests(label: Any) -> CodeTests:
    """The tests of a label: one of the forms above, or the text of one as JSON; text that is no JSON is Python to run
    behind the program. A mapping may add "time_limit", "memory_limit" and "tolerance", and hold "tests" in any form.

    Raises LabelError for a label in another form or without a test.
    """
    label = _parsed(label)
    bounds = (
        {name: _bound(label, name) for name in ("time_limit", "memory_limit")} if isinstance(label, Mapping) else {}
    )
    tolerance = _bound(label, "tolerance") if isinstance(label, Mapping) else None
    try:
        tests = _tests(label, _name(label))
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(
            f"rule code needs tests as its label: {_FORMS}; this label is {label!r:.200} ({error})"
        ) from None
    if not tests:
        raise LabelError(f"rule code needs at least one test in its label; this label is {label!r:.200}")
    return CodeTests(tests, **bounds, tolerance=tolerance or 0.0)


def _tests(label: Any, function: str) -> list[Test]:
    label = _parsed(label)
    if isinstance(label, str):
        return [AssertTest(label)] if label.strip() else []
    if isinstance(label, list):
        return [_test(item, function) for item in label]
    for name in ("tests", "public_test_cases", "input_output", "test_list"):
        if name in label:
            before = "\n".join(label.get("test_imports", [])) + "\n" + label.get("test_setup_code", "")
            return [_after(before, test) for test in _tests(label[name], function or _name(label[name]))]
    if "test" in label:
        return [AssertTest(f"{label['test']}\n\ncheck({label['entry_point']})")]
    inputs, outputs = label["inputs"], label["outputs"]
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs, {len(outputs)} outputs")
    return [_pair(given, wanted, function) for given, wanted in zip(inputs, outputs, strict=True)]


def _test(item: Any, function: str) -> Test:
    """One of a list."""
    if isinstance(item, str):
        return AssertTest(item)
    if item.get("testtype", "functional" if function else "stdin") == "stdin":
        return InputTest(_text(item["input"]), _text(item["output"]))
    if not function:
        raise ValueError('a functional test needs the function\'s name, "func_name", beside the tests')
    lines = item["input"].splitlines() if isinstance(item["input"], str) else None
    arguments = item["input"] if lines is None else [json.loads(line) for line in lines if line.strip()]
    return CallTest(function, arguments, [_parsed(item["output"], strictly=True)])


def _pair(given: Any, wanted: Any, function: str) -> Test:
    """APPS: the lines of an input may be a list; what a function should return often stands in a list of one."""
    if not function:
        return InputTest(_text(given), _text(wanted))
    return CallTest(function, given, [wanted, wanted[0]] if isinstance(wanted, list) and len(wanted) == 1 else [wanted])


def _after(before: str, test: Test) -> Test:
    return AssertTest(f"{before}\n{test.source}") if isinstance(test, AssertTest) and before.strip() else test


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.50} is no text for standard input or output")
    return value


def _name(label: Any) -> str:
    """The name of the function that functional tests call; "" without one."""
    label = _parsed(label)
    names = [label[key] for key in ("fn_name", "func_name") if label.get(key)] if isinstance(label, Mapping) else []
    if names and not (isinstance(names[0], str) and names[0].isidentifier()):
        raise LabelError(f"rule code needs the name of a function as fn_name; it is {names[0]!r:.50}")
    return str(names[0]) if names else ""


def _bound(label: Mapping[str, Any], name: str) -> float | None:
    value = label.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise LabelError(f"rule code needs a number above 0 as its label's {name}; it is {value!r:.50}")
    return float(value)


def _parsed(value: Any, *, strictly: bool = False) -> Any:
    """Text that is JSON as what it holds; other text as it is, or, strictly, ValueError."""
    if not isinstance(value, str) or not (strictly or value.lstrip()[:1] in ("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        if strictly:
            raise
        return value

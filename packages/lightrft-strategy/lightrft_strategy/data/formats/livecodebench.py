"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): problems of programming contests, with their tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.parts import described
from lightrft_strategy.data.rejected import RowError

SECONDS = 6
"""Of processor time for each test, as LiveCodeBench's own runner has it."""

_WITH_STARTER = "Complete this code, and give the whole of it in one Python code block:\n```python\n{}\n```"
_PROGRAM = (
    "Write a Python program that reads the input from standard input and writes the answer to standard output. "
    "Give it in one Python code block."
)
_NO_JSON = "is no JSON"
_PICKLED = (
    "is no JSON: as livecodebench/code_generation_lite publishes them, these tests are a pickle, base64 of "
    "zlib, which could run anything and is not loaded here; unpack the file once, where you trust it, and write the "
    "tests as JSON (see the page on evaluation), or leave the key out to judge by the public tests alone"
)


def livecodebench(content: Mapping[str, Any]) -> dict[str, Any]:
    """question_content, starter_code, public_test_cases, private_test_cases (both JSON: a list of {"input", "output",
    "testtype"}, or the text of one), metadata (JSON, with func_name where a function is asked for).

    Raises RowError for a row of another form, and for private tests that are pickled, which are never loaded.
    """
    starter = content.get("starter_code") or ""
    if not isinstance(starter, str):
        raise RowError(f'its "starter_code" is {described(starter)}, not text')
    tests = [*_tests(content, "public_test_cases", _NO_JSON), *_tests(content, "private_test_cases", _PICKLED)]
    if not tests:
        raise RowError('has no test: neither "public_test_cases" nor "private_test_cases" hold one')
    metadata = _read("metadata", content.get("metadata") or {}, _NO_JSON)
    if not isinstance(metadata, Mapping):
        raise RowError(f'its "metadata" is {described(metadata)}, not an object')
    task = _WITH_STARTER.format(starter.rstrip()) if starter.strip() else _PROGRAM
    label = {"tests": tests, "func_name": metadata.get("func_name"), "time_limit": SECONDS}
    question = text_of(content, "question_content").strip()
    return {"input": f"{question}\n\n{task}", "label": label, "route": "code"}


def _tests(content: Mapping[str, Any], name: str, otherwise: str) -> list[Any]:
    if content.get(name) in (None, ""):
        return []
    tests = _read(name, content[name], otherwise)
    if not isinstance(tests, list) or not all(isinstance(test, Mapping) and "input" in test for test in tests):
        raise RowError(f'its "{name}" is {described(tests)}, not a list of tests with input and output')
    return tests


def _read(name: str, value: Any, otherwise: str) -> Any:
    """A value, or what its text says as JSON. otherwise: what is wrong with any other text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError(f'its "{name}" {otherwise}') from None

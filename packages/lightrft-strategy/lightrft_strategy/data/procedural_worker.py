"""A program: makes the rows of one reasoning-gym task. Run by `procedural` in a process of its own.

Several tasks iterate over Python sets, so that their rows follow the process's hash seed; one draws from the global
generator; one prints. The caller fixes the hash seed, this program the other two. It reads a request from standard
input and writes a JSON object a line: {"item": ...} or {"reason": ...} for each row, or {"error": ...} alone.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from enum import Enum
from itertools import islice
from typing import Any

_GENERATION_ERRORS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


def task_items(task: str, options: dict[str, str], count: int | None) -> Iterator[dict[str, Any]]:
    """{"item": ...} or {"reason": ...} for each of the task's first `count` rows (None: all).

    Raises ValueError for an unknown task or option, a value the task does not accept,
    or a task that cannot be judged from what JSON keeps of its items.
    """
    dataset = _open_task(task, options)
    judge = _open_task(task, {})
    for index in islice(range(len(dataset)), count):
        random.seed(index)
        try:
            original = dataset[index]
            item = json.loads(json.dumps(original, allow_nan=False))
        except _GENERATION_ERRORS as error:
            yield {"reason": f"the task failed to make this item: {type(error).__name__}: {error}"}
            continue
        if index == 0 and _score(judge, item) != _score(dataset, original):
            raise ValueError(f'task "{task}" cannot be used: it does not recognise its own answers once kept as JSON')
        yield {"item": item}


def _open_task(task: str, options: dict[str, str]) -> Any:
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        near = get_close_matches(task, DATASETS, n=5, cutoff=0.4) or sorted(DATASETS)
        raise ValueError(f'there is no task "{task}"; did you mean {", ".join(near)}?')
    dataset_class, config_class = DATASETS[task]
    config = config_class()
    fields = [field.name for field in dataclasses.fields(config)]
    for name, text in options.items():
        if name not in fields:
            raise ValueError(f'task "{task}" has no option "{name}"; it has {", ".join(fields)}')
        setattr(config, name, _option_value(name, text, getattr(config, name)))
    try:
        return dataset_class(config)
    except _GENERATION_ERRORS as error:
        raise ValueError(f'task "{task}" refuses its options: {error}') from error


def _option_value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, Enum):
        return type(default)(text)
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        value = text
    match default:
        case bool() | int():
            fits = type(value) is type(default)
        case float():
            fits = type(value) in (int, float)
        case list() | tuple():
            fits = isinstance(value, list)
            value = type(default)(value) if fits else value
        case None:
            fits = True
        case _:
            raise ValueError(f'option "{name}" cannot be set from a source name')
    if not fits:
        raise ValueError(f'option "{name}" must be like {json.dumps(default)}, not {text}')
    return value


def _score(dataset: Any, entry: dict[str, Any]) -> float:
    return float(dataset.score_answer(entry["answer"], entry))


def main() -> None:
    output, sys.stdout = sys.stdout, sys.stderr
    request = json.load(sys.stdin)
    try:
        for line in task_items(request["task"], request["options"], request["count"]):
            output.write(json.dumps(line) + "\n")
    except ValueError as error:
        output.write(json.dumps({"error": str(error)}) + "\n")


if __name__ == "__main__":
    main()

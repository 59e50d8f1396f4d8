"""Writes the test vectors that other implementations can check themselves with.

uv run python tests/conformance/write_vectors.py. What they hold is explained in vectors/README.md.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from references.case import Answer, Case, random_case
from references.rows import ROWS, Row

FOLDER = Path(__file__).parent / "vectors"
DIGITS = 4
SHAPES: dict[str, dict[str, Any]] = {
    "ordinary": {"groups": 2, "n": 3, "max_length": 5, "spread": 0.3},
    "close to the old policy": {"groups": 2, "n": 3, "max_length": 4, "spread": 5e-4},
    "far from the old policy": {"groups": 2, "n": 3, "max_length": 4, "spread": 3.0},
    "one token an answer": {"groups": 2, "n": 4, "max_length": 1, "spread": 0.3},
}


def cases() -> dict[str, Case]:
    """The inputs by name, the same for every row; every number has DIGITS digits after the point."""
    built = {name: _case(seed, **shape) for seed, (name, shape) in enumerate(SHAPES.items(), start=20)}
    failing = _case(30, groups=2, n=3, max_length=4, spread=0.3)
    failing.groups[0][1].reward = None
    equal = _case(31, groups=2, n=3, max_length=4, spread=0.3)
    for answer in equal.groups[0]:
        answer.reward = 0.3
    return built | {"a judgement failed": failing, "equal rewards": equal}


def _case(seed: int, **shape: Any) -> Case:
    rng = random.Random(seed)
    case = random_case(rng, **shape)
    for group in case.groups:
        for answer in group:
            answer.reward = round(rng.gauss(0.0, 1.0), 2)
            _round(answer)
    return case


def _round(answer: Answer) -> None:
    for name, column in vars(answer).items():
        if isinstance(column, list):
            setattr(answer, name, [round(number, DIGITS + 2 * (name == "logprobs")) for number in column])


def document(name: str) -> dict[str, Any]:
    """Everything a row's file holds."""
    row = ROWS[name]
    return {
        "algorithm": name,
        "constants": {key: value for key, value in asdict(row).items() if value is not None},
        "cases": [
            {"name": title, "input": case.to_json(), "expected": expected(row, case)} for title, case in cases().items()
        ],
    }


def expected(row: Row, case: Case) -> dict[str, Any]:
    """What an implementation has to compute."""
    numbers = {"advantages": row.advantages(case), "loss": row.loss(case), "gradient": row.gradient(case)}
    if row.value_clip is None:
        return numbers
    critic = {
        "returns": row.returns(case),
        "value_loss": row.value_loss(case),
        "value_gradient": row.value_gradient(case),
    }
    return numbers | critic


def text(content: dict[str, Any]) -> str:
    """JSON with each innermost list on one line."""
    innermost = re.compile(r"\[\s*([^\[\]{}]*?)\s*\]")
    return innermost.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(content, indent=1)) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for algorithm in ROWS:
        (FOLDER / f"{algorithm}.json").write_text(text(document(algorithm)), encoding="utf-8")

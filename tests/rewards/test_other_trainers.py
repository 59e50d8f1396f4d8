"""The examples for users of TRL and verl, called as these call them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

TRL = r"""
import json, sys
from rewards_in_trl import pool, reward

program = "```python\nprint(2 * int(input()))\n```"
tests = [{"input": "2", "output": "4"}, {"input": "3", "output": "7"}]
columns = {
    "prompts": ["p"] * 5,
    "completions": [
        r"<think>so</think>\boxed{4}",
        [{"role": "assistant", "content": r"\boxed{\frac{8}{2}}"}],
        r"\boxed{5}",
        [{"role": "assistant", "content": program}],
        r"\boxed{4}",
    ],
    "answer": ["4", "4", "4", tests, None],
    "task": ["mathematics"] * 3 + ["code", "mathematics"],
}
first = reward(**columns, completion_ids=[[1]] * 5, trainer_state=None)
again = reward(**columns)
pool().close()
heavy = sorted({"torch", "transformers", "lightrft_core", "lightrft_strategy"} & set(sys.modules))
print(json.dumps([first, again, heavy]))
"""

VERL = r"""
import json, sys
from rewards_in_verl import compute_score

right = compute_score(data_source="openai/gsm8k", solution_str="#### 7", ground_truth="7", extra_info={"index": 3})
wrong = compute_score("hiyouga/geometry3k", r"<think>x</think>\boxed{5}", "6")
try:
    compute_score("openai/gsm8k", "#### 7", None)
except RuntimeError as error:
    told = str(error)
heavy = sorted({"torch", "transformers", "lightrft_core", "lightrft_strategy"} & set(sys.modules))
print(json.dumps([right, wrong, told, heavy]))
"""


def run(program: str) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=EXAMPLES, capture_output=True, text=True, timeout=300, check=True
    )
    result: list[object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_example_for_trl_gives_a_score_per_completion_and_none_where_judging_failed() -> None:
    first, again, heavy = run(TRL)
    assert first == pytest.approx([1.1, 1.0, 0.0, 0.5, None])
    assert again == first
    assert heavy == []


@pytest.mark.proof
def test_the_example_for_verl_gives_score_and_accuracy_and_says_what_failed() -> None:
    right, wrong, told, heavy = run(VERL)
    assert right == {"score": 1.0, "acc": 1.0}
    assert wrong == pytest.approx({"score": 0.1, "acc": 0.0})
    assert "a row of openai/gsm8k: rule gsm8k needs a number as its label" in str(told)
    assert heavy == []

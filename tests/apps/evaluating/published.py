"""Rows in the forms in which benchmarks are published, with a right and a wrong answer to each."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from dataclasses import dataclass
from typing import Any

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Asked:
    """A published row, and answers of a model."""

    row: dict[str, Any]
    right: str
    wrong: str


def _gpqa(question: str, right: str, *wrong: str) -> dict[str, Any]:
    texts = {f"Incorrect Answer {i}": text for i, text in enumerate(wrong, start=1)}
    return {"Question": question, "Correct Answer": right, **texts, "High-level domain": "Physics", "Subdomain": "x"}


_SQUARE = {
    "question_title": "Square",
    "question_content": "Read a whole number and print its square.",
    "platform": "atcoder",
    "question_id": "abc1_a",
    "contest_id": "abc1",
    "contest_date": "2024-01-06T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": '[{"input": "3\\n", "output": "9", "testtype": "stdin"}]',
    "private_test_cases": '[{"input": "-4\\n", "output": "16\\n", "testtype": "stdin"}]',
    "metadata": "{}",
}
_MINIMUM = _SQUARE | {
    "question_content": "Return the least number of nums plus k.",
    "platform": "leetcode",
    "starter_code": "class Solution:\n    def leastPlus(self, nums: List[int], k: int) -> int:\n        ",
    "difficulty": "medium",
    "public_test_cases": '[{"input": "[3, 1, 2]\\n10", "output": "11", "testtype": "functional"}]',
    "private_test_cases": [{"input": "[5]\n-5", "output": "0", "testtype": "functional"}],
    "metadata": '{"func_name": "leastPlus"}',
}
_SOLUTION = "class Solution:\n    def leastPlus(self, nums: List[int], k: int) -> int:\n        return min(nums)"


def program(source: str) -> str:
    return f"Here it is.\n```python\n{source}\n```\n"


PUBLISHED: dict[str, list[Asked]] = {
    "gsm8k": [
        Asked(
            {"question": "Ann has 3 boxes of 24 pens. How many?", "answer": "3*24 = <<3*24=72>>72 pens\n#### 72"},
            "Three times 24 is 72.\n#### 72",
            "It is 72.\n#### 71",
        ),
        Asked({"question": "And 1,000 more?", "answer": "72+1000\n#### 1,072"}, "#### $1072.00", "the answer is 1072"),
    ],
    "math500": [
        Asked(
            {
                "problem": "What is $1/2$ of $\\frac{1}{3}$?",
                "solution": "It is $\\boxed{\\frac{1}{6}}$.",
                "answer": "\\frac{1}{6}",
                "subject": "Prealgebra",
                "level": 1,
                "unique_id": "test/prealgebra/1.json",
            },
            "Half of a third is \\boxed{\\dfrac16}.",
            "Half of a third is \\boxed{\\frac{1}{5}}.",
        ),
        Asked(
            {"problem": "Roots of x^2=1?", "solution": "", "answer": "1,-1", "subject": "Algebra", "level": 5},
            "So x is \\boxed{-1, 1}.",
            "So x is \\boxed{1}.",
        ),
    ],
    "aime24": [
        Asked(
            {"id": 60, "problem": "Find m+n.", "solution": "", "answer": "073", "url": "x", "year": "2024"},
            "m+n is \\boxed{73}",
            "m+n is \\boxed{37}",
        ),
        Asked({"ID": "2024-I-2", "Problem": "Find xy.", "Answer": 25}, "\\boxed{025}", "It is 25."),
    ],
    "aime25": [
        Asked({"problem": "Sum of all bases?", "answer": "70", "id": "0"}, "\\boxed{70}", "\\boxed{71}"),
        Asked({"question": "Area?", "answer": "588"}, "\\boxed{588}", "\\boxed{58}"),
    ],
    "gpqa_diamond": [
        Asked(_gpqa("Which is heavier?", "a proton\n", "an electron", "a neutrino ", "a photon"), "RIGHT", "WRONG"),
        Asked(_gpqa("Which is lighter?", "an electron", "a proton", "a neutron", "an atom"), "RIGHT", "WRONG"),
    ],
    "geo3k": [
        Asked(
            {"images": [{"bytes": PNG, "path": None}], "problem": "<image>Find x.", "answer": "2 \\sqrt { 221 }"},
            "x is \\boxed{2\\sqrt{221}}",
            "x is \\boxed{2\\sqrt{22}}",
        ),
        Asked(
            {"images": [{"bytes": PNG, "path": None}], "problem": "<image>Find the angle.", "answer": "50"},
            "It is \\boxed{50^\\circ}.",
            "It is \\boxed{40^\\circ}.",
        ),
    ],
    "mmmu": [
        Asked(
            {
                "id": "validation_Accounting_1",
                "question": "<image 1> Sales per unit?",
                "options": "['$6', '$7', \"It's $8\", '$9']",
                "explanation": "",
                "image_1": {"bytes": PNG, "path": None},
                "image_2": None,
                "answer": "B",
                "question_type": "multiple-choice",
                "topic_difficulty": "Medium",
            },
            "B",
            "(C)",
        ),
        Asked(
            {
                "id": "validation_Art_30",
                "question": "Which of them is by Monet?",
                "options": "['<image 1>', '<image 2>']",
                "image_1": {"bytes": PNG, "path": None},
                "image_2": {"bytes": PNG, "path": None},
                "answer": "A",
                "question_type": "multiple-choice",
                "topic_difficulty": "Easy",
            },
            "The answer is A.",
            "A or B",
        ),
    ],
    "avqa": [
        Asked(
            {
                "id": 183,
                "video_name": "-HG3Omg_89c_000030",
                "question_text": "What happened in the video?",
                "multi_choice": ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"],
                "answer": 1,
                "audio_path": "one.wav",
                "question_type": "Come From",
            },
            "B",
            "A",
        )
    ],
    "livecodebench": [
        Asked(_SQUARE, program("print(int(input()) ** 2)"), program("print(int(input()) * 3)")),
        Asked(_MINIMUM, program(f"{_SOLUTION} + k"), program(f"{_SOLUTION} + 10")),
    ],
}

PICKLED_TESTS = base64.b64encode(zlib.compress(pickle.dumps(_SQUARE["private_test_cases"]))).decode()
"""As livecodebench/code_generation_lite has its private tests."""


def text_of(row: dict[str, Any]) -> str:
    """A row as a line of JSON, its bytes in base64."""
    return json.dumps(row, default=lambda value: base64.b64encode(value).decode())

"""The <think>...</think><answer>...</answer> form of an answer (DeepSeek-R1, arXiv 2501.12948, table 1)."""

from __future__ import annotations

import re
from typing import Any

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_FORM = re.compile(r"\s*<think>.*</think>\s*<answer>.*</answer>\s*", re.DOTALL)


def think_answer(response: str, label: Any = None) -> float:
    """1 if the response is one <think>...</think>, then one <answer>...</answer>, and otherwise blank; else 0.

    The label plays no part.
    """
    return float(all(response.count(tag) == 1 for tag in _TAGS) and _FORM.fullmatch(response) is not None)


def answer_of(response: str) -> str:
    """What stands between the last <answer> and </answer>, or else the whole response; stripped either way."""
    tagged = tagged_answer(response)
    return response.strip() if tagged is None else tagged


def tagged_answer(text: str) -> str | None:
    """What stands between the last <answer> and </answer>, stripped; None without these."""
    before, closed, _ = text.rpartition("</answer>")
    _, opened, answer = before.rpartition("<answer>")
    return answer.strip() if closed and opened else None


def spoken(response: str) -> str:
    """What a response says when it has thought: all behind the last </think>, nothing while a <think> is open."""
    _, closed, rest = response.rpartition("</think>")
    return "" if "<think>" in rest else rest if closed else response

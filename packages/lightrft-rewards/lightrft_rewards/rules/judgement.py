"""What a judge said of two answers, or of one: "Answer 1 is better", "Both are equally good", a grade."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.tags import tagged_answer

TIE = 0
"""The verdict that neither of two answers is better; otherwise it is the better one's number, 1 or 2."""

_BETTER = re.compile(r"(?:answer|response|image|video|audio) ([12]) is better", re.IGNORECASE)
_EQUAL = re.compile(r"both (?:answers |responses |images |videos |audios )?are equally good", re.IGNORECASE)
_GRADE = re.compile(r"[+-]?[0-9]{1,6}(?:\.[0-9]{1,6})?")
_THOUGHT = re.compile(
    r"\s*(?:<think>(?:(?!</?think>).)*</think>\s*)?<answer>(?:(?!</?answer>).)*</answer>\s*", re.DOTALL
)


def verdict_of(text: str) -> int | None:
    """1, 2 or TIE, as the last <answer>...</answer> says; None where that is missing or says anything else.

    It is one of "Answer 1 is better", "Answer 2 is better" (likewise Image, Video, Audio, Response) and "Both are
    equally good", in any case, with or without a full stop.
    """
    said = _said(text)
    if said is None:
        return None
    if _EQUAL.fullmatch(said):
        return TIE
    better = _BETTER.fullmatch(said)
    return None if better is None else int(better[1])


def grade_of(text: str, lowest: float, highest: float) -> float | None:
    """The grade in the last <answer>...</answer>; None unless it is a number from lowest to highest and no more."""
    said = _said(text)
    if said is None or not _GRADE.fullmatch(said):
        return None
    grade = float(said)
    return grade if lowest <= grade <= highest else None


def judgement(response: str, label: Any) -> float:
    """How far a judgement agrees with the people's: of two answers 1 for their verdict, else 0; of one answer 1 less
    the share of the scale that the grades lie apart. A judgement that cannot be read agrees with nobody: 0.

    label: {"verdict": 1, 2 or 0 for a tie}, or {"grade": 4, "lowest": 1, "highest": 5}. Raises LabelError for another.
    """
    match label:
        case {"verdict": 0 | 1 | 2 as verdict} if not isinstance(verdict, bool):
            return float(verdict_of(response) == verdict)
        case {
            "grade": int() | float() as grade,
            "lowest": int() | float() as lowest,
            "highest": int() | float() as high,
        }:
            if lowest < high:
                said = grade_of(response, lowest, high)
                return 0.0 if said is None else 1 - min(1.0, abs(said - grade) / (high - lowest))
    raise LabelError(
        'rule judgement needs a label such as {"verdict": 1} (0: a tie) or {"grade": 4, "lowest": 1, "highest": 5}; '
        f"this label is {label!r:.200}"
    )


def judgement_format(response: str, label: Any) -> float:
    """1 if the response is one <answer> that can be read as a judgement, behind one <think>...</think> or none, and
    otherwise blank; else 0. label: as of the rule judgement, of which it tells a grade's scale.
    """
    if _THOUGHT.fullmatch(response) is None:
        return 0.0
    match label:
        case Mapping() if "grade" in label:
            return float(grade_of(response, label.get("lowest", 0), label.get("highest", 0)) is not None)
    return float(verdict_of(response) is not None)


def _said(text: str) -> str | None:
    """The last tagged answer in one line, without a full stop."""
    tagged = tagged_answer(text)
    return None if tagged is None else " ".join(tagged.split()).removesuffix(".").rstrip()

"""Multiple choice: a letter or the text of a choice, read from what the response says in the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.boxed import last_box
from lightrft_rewards.rules.tags import spoken, tagged_answer

_LEAD = re.compile(
    r"(?:so,?\s+|therefore,?\s+|thus,?\s+)?(?:the\s+)?(?:(?:final|correct|right|best)\s+)?"
    r"(?:answer|option|choice)(?:\s+is)?\s*[:=]?\s+(?!is\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?P<bare>[A-Za-z])|[(\[]\s*(?P<bracketed>[A-Za-z])\s*[)\]]|(?P<dotted>[A-Za-z])\s*[.):]")
_LETTER_AND_TEXT = re.compile(
    r"(?:[(\[]\s*(?P<bracketed>[A-Za-z])\s*[)\]]\s*[:.]?|(?P<dotted>[A-Za-z])\s*[.):])\s*(?P<text>\S.*)", re.DOTALL
)
_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


def multiple_choice(response: str, label: Any) -> float:
    """1 if the response's final answer is the right choice and no other, else 0.

    The final answer stands in the last <answer>...</answer>, or else in the last box, or else is the whole last line;
    thoughts in <think>...</think> do not count. It is a letter ("B", "(B)", "B.", "The answer is B"), the text of a
    choice, or both where they agree. A letter that is also the text of another choice needs brackets, a dot or its text
    beside it. Anything else, such as two letters, is no answer.
    label: {"choices": [texts], "answer": number from 0, or a letter}, or a letter alone. Raises LabelError for any other.
    """
    choices, right = _read(label)
    return float(_chosen(final_choice(response), choices) in right)


def choice_answer(response: str) -> str | None:
    """The letter of the final answer, or its text in small letters; None if there is none."""
    said = final_choice(response)
    both = _LETTER_AND_TEXT.fullmatch(said)
    letter = both or _LETTER.fullmatch(said)
    return _letter_of(letter) if letter else _plain(said) or None


def final_choice(response: str) -> str:
    """What the response says in the end, without the words that lead to it."""
    said = spoken(response)
    tagged = tagged_answer(said)
    scope = said if tagged is None else tagged
    boxed = last_box(scope)
    if boxed is not None:
        scope = boxed
    elif tagged is None:
        scope = scope.strip().rpartition("\n")[2]
    scope = _WRAPPED.sub(r"\1", scope).replace("*", "").strip().strip("$").strip()
    lead = _LEAD.match(scope)
    return (scope[lead.end() :] if lead else scope).strip()


def _chosen(said: str, choices: Sequence[str]) -> int | None:
    """The number of the choice that is said; None for none, or for more than one."""
    texts = [_plain(choice) for choice in choices]
    both = _LETTER_AND_TEXT.fullmatch(said)
    if both and (number := _number(_letter_of(both), choices)) is not None and _plain(both["text"]) == texts[number]:
        return number
    named = {number for number, text in enumerate(texts) if text and text == _plain(said)}
    letter = _LETTER.fullmatch(said.removesuffix(".") if len(said) == 2 else said)
    number = _number(_letter_of(letter), choices) if letter else None
    if number is None or (letter and not letter["bare"]):
        named = named if number is None else {number}
        return min(named) if len({texts[each] for each in named}) == 1 or len(named) == 1 else None
    return number if named <= {number} else None


def _letter_of(match: re.Match[str]) -> str:
    return next(letter for letter in (*match.groups()[:2], *match.groups()[2:]) if letter).upper()

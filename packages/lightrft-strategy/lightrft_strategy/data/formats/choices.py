"""Questions with choices to answer from."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from lightrft_strategy.data.parts import described
from lightrft_strategy.data.rejected import RowError


def choice_row(question: str, choices: Sequence[str], answer: int, **media: Any) -> dict[str, Any]:
    """The question with its choices under it, a letter before each.

    answer: the number of the right choice, from 0. media: under their keys, such as audios. The label is what the rule
    multiple_choice reads.
    """
    listed = [f"{letter}. {choice.strip()}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return {
        "input": "\n".join([question.strip(), *listed]),
        "label": {"choices": list(choices), "answer": answer},
        "route": "multiple_choice",
        **media,
    }


def checked_choices(name: str, value: Any) -> list[str]:
    """The choices. Raises RowError unless they are 2 to 26 texts, none blank."""
    if not isinstance(value, list | tuple):
        raise RowError(f'its "{name}" is {described(value)}, not a list of choices')
    if not 2 <= len(value) <= len(ascii_uppercase):
        raise RowError(f'its "{name}" has {len(value)} choices, not 2 to {len(ascii_uppercase)}')
    if not all(isinstance(choice, str) and choice.strip() for choice in value):
        raise RowError(f'its "{name}" has a choice that is not text, or blank')
    return list(value)


def right_choice(name: str, answer: Any, choices: Sequence[str]) -> int:
    """The number, from 0, of the choice that an answer names: by its number, its text or its letter.

    Raises RowError if it names none.
    """
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str):
        texts = [choice.strip().casefold() for choice in choices]
        if answer.strip().casefold() in texts:
            return texts.index(answer.strip().casefold())
        if len(answer.strip()) == 1 and answer.strip().upper() in ascii_uppercase[: len(choices)]:
            return ascii_uppercase.index(answer.strip().upper())
    raise RowError(
        f'its "{name}" {answer!r:.100} is none of its {len(choices)} choices: not a number from 0, text, letter'
    )

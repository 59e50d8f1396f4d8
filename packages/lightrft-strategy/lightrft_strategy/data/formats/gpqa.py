"""GPQA (Rein et al. 2023, arXiv 2311.12022): a right answer and three wrong ones, in orders that favour no letter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.choices import choice_row
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.mixture import permutation

_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_CHOICES = 4
_RIGHT_PLACES, _WRONG_ORDERS = 1, 2
"""What the random numbers are for, as a part of their key."""


def gpqa(content: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Question, Correct Answer, Incorrect Answer 1 to 3; row: its number in the file, from 1.

    Of every four rows, counted from the first, the right answer of one is A, of one B, of one C, of one D, so that
    whoever always says the same letter is right a quarter of the time; which of them, and the order of the wrong
    answers, follow from the number of the row alone. Raises RowError for a row of another form.
    """
    right, *wrong = (text_of(content, name) for name in ("Correct Answer", *_WRONG))
    block, place = divmod(row - 1, _CHOICES)
    answer = int(permutation(_CHOICES, _RIGHT_PLACES, block)[place])
    choices = [wrong[number] for number in permutation(len(wrong), _WRONG_ORDERS, row)]
    choices.insert(answer, right)
    return choice_row(text_of(content, "Question"), [choice.strip() for choice in choices], answer)

"""MMMU (Yue et al. 2023, arXiv 2311.16502): questions of many subjects with images in them, and choices."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.choices import checked_choices, choice_row, right_choice
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.rejected import RowError

_IMAGE = re.compile(r"<image ([1-9])>")
_ID = re.compile(r"(?:dev|validation|test)_(\w+)_\d+")
_OPEN = "open"


def mmmu(content: Mapping[str, Any]) -> dict[str, Any]:
    """question, options (a list, or the text of one), answer (a letter), image_1 to image_9 where the text says
    <image 1> and so on; an image that no text names goes in front. subject: from an id such as validation_Art_7.

    Raises RowError for a row of another form, and for an open question, which has no choices.
    """
    if content.get("question_type") == _OPEN:
        raise RowError("is an open question: of MMMU only those with choices are judged here")
    question = text_of(content, "question")
    choices = checked_choices("options", _options(field_of(content, "options")[1]))
    row = choice_row(question, choices, right_choice("answer", content.get("answer"), choices))
    named = [f"image_{number}" for number in _IMAGE.findall(row["input"])]
    present = [f"image_{number}" for number in range(1, 10) if content.get(f"image_{number}") is not None]
    missing = [name for name in named if name not in present]
    if missing:
        raise RowError(f'its text shows an image that it does not have: "{missing[0]}" is missing')
    in_front = [name for name in present if name not in named]
    text = "<image>" * len(in_front) + _IMAGE.sub("<image>", row["input"])
    subject = _ID.fullmatch(str(content.get("id", "")))
    return (
        row
        | {"input": text, "images": [content[name] for name in (*in_front, *named)]}
        | ({"subject": subject[1]} if subject else {})
    )


def _options(value: Any) -> Any:
    """What MMMU publishes as the text of a Python list."""
    if not isinstance(value, str):
        return value
    try:
        options = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise RowError(f'its "options" {value[:80]!r} is not the text of a list') from None
    return [str(option) for option in options] if isinstance(options, list) else options

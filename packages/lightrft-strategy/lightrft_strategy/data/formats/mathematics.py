"""MATH-500 (Lightman et al. 2023, arXiv 2305.20050, of Hendrycks et al. 2021, arXiv 2103.03874) and AIME."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import described
from lightrft_strategy.data.rejected import RowError

LARGEST = 999
"""Answers of the AIME are whole numbers from 0 up to this."""


def math500(content: Mapping[str, Any]) -> dict[str, Any]:
    """The problem; the label is the answer in LaTeX. Raises RowError for a row of another form."""
    return {"input": text_of(content, "problem"), "label": text_of(content, "answer"), "route": "boxed"}


def aime(content: Mapping[str, Any]) -> dict[str, Any]:
    """problem, Problem or question; answer or Answer, a whole number from 0 to 999 or the text of one (073).

    Raises RowError for a row of another form.
    """
    problem = text_of(content, "problem", "Problem", "question")
    name, answer = field_of(content, "answer", "Answer")
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        raise RowError(f'its "{name}" is {described(answer)}, not a whole number')
    written = str(answer).strip()
    if not (written.isascii() and written.isdigit() and int(written) <= LARGEST):
        raise RowError(f'its "{name}" {written[:80]!r} is no whole number from 0 to {LARGEST}')
    return {"input": problem, "label": str(int(written)), "route": "boxed"}

"""LaTeX as text: what is written differently but reads the same is given one form. No mathematics, linear time."""

from __future__ import annotations

import re

from lightrft_rewards.rules.number import plain_number

_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\?\$", ""),
        (r"\\[cdt]frac(?![A-Za-z])", r"\\frac"),
        (r"\{,\}", ","),
        (r"(?<!\\)\\[,!]", ""),
        (r"(?<!\\)\\(?:[;: ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\\%", "%"),
        (r"([_^])\{(\w)\}", r"\1\2"),
    )
]
_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_FRACTION = re.compile(r"([-+\u2212]?)\\frac(\{-?\d+\}|\d) ?(\{\d+\}|\d)", re.ASCII)


def normal_form(latex: str) -> str | None:
    """The text in one form; a number, or a fraction of whole ones, as plain_number writes it. None if nothing is left.

    A space stays only between two digits (``2 3`` is not 23), and a list (``1, 234``) is not taken for a number.
    """
    for pattern, replacement in _REWRITTEN:
        latex = pattern.sub(replacement, latex)
    spaced = " ".join(latex.split()).removesuffix(".")
    compact = _SPACE.sub("", spaced)
    fraction = _FRACTION.fullmatch(compact)
    if fraction:
        sign, top, bottom = (piece.strip("{}") for piece in fraction.groups())
        number = plain_number(f"{sign}{top}/{bottom}")
    else:
        number = plain_number(spaced if "," in spaced else compact)
    return number or compact or None

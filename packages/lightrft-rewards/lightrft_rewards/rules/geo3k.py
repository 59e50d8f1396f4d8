r"""Geometry (Geometry3K, Lu et al. 2021, arXiv 2105.04165): the final answer as mathematics, its unit aside."""

from __future__ import annotations

import re
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.boxed import last_box
from lightrft_rewards.rules.latex import normal_form
from lightrft_rewards.rules.tags import spoken, tagged_answer

_LENGTHS = {
    "unit": "units?",
    "mm": "mm|milli-?met(?:er|re)s?",
    "cm": "cm|centi-?met(?:er|re)s?",
    "m": "m|met(?:er|re)s?",
    "km": "km|kilo-?met(?:er|re)s?",
    "in": "in|inch(?:es)?",
    "ft": "ft|foot|feet",
    "yd": "yds?|yards?",
    "mi": "mi|miles?",
}
_NAMES = "|".join(f"(?P<{name}>{spelt})" for name, spelt in _LENGTHS.items())
_UNIT = re.compile(
    rf"""(?<![A-Za-z\\])
    (?: (?P<word> square | sq\.? | cubic | cu\.? ) \s+ )?
    (?: {_NAMES} ) \.?
    (?: \s* \^? \s* \{{? \s* (?P<power> [23\u00b2\u00b3] ) \s* \}}? )? $
    """,
    re.VERBOSE | re.IGNORECASE,
)
_POWERS = {"1": 1, "2": 2, "\u00b2": 2, "s": 2, "3": 3, "\u00b3": 3, "c": 3}
_DEGREES = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\u00b0|\bdegrees?\b|\bdeg\b)\s*$", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])")
_ROOT = re.compile(r"\u221a\s*(\d+(?:\.\d+)?|[A-Za-z])")
_EQUALS = re.compile(r"=|\\approx(?![A-Za-z])|\u2248")
_THOUGHT = re.compile(r"\s*<think>.*</think>(.*)", re.DOTALL)


def geo3k(response: str, label: Any) -> float:
    r"""1 if the response's final answer equals the label as mathematics, else 0.

    The final answer is the last ``\boxed{...}``, or what stands in the last ``<answer>...</answer>``, within it or not;
    thoughts in ``<think>...</think>`` do not count. Degrees and units are read and left out: ``50^\circ`` equals
    ``50``, and ``5 cm`` equals ``5``, but not ``5 m``. Of an equation or an approximation (``x = 5``, ``\approx 8.7``)
    the last side counts. A rounded number does not equal an exact one.
    label: LaTeX or plain text, or a number. Raises LabelError if it is missing or holds no expression.
    Comparing can take for ever on a hostile expression: run it in a worker, which has a deadline.
    """
    from math_verify import parse, verify  # slow to import

    wanted, unit = _number_and_unit(_label_text(label))
    expected = parse(_boxed(wanted), parsing_timeout=0)
    if not expected:
        raise LabelError(f"rule geo3k cannot read an expression from its label {label!r:.200}")
    answer = final_answer(response)
    if answer is None:
        return 0.0
    found, own_unit = _number_and_unit(answer)
    if unit and own_unit and unit != own_unit and "unit" not in (unit[0], own_unit[0]):
        return 0.0
    return float(verify(expected, parse(_boxed(found), parsing_timeout=0), timeout_seconds=0))


def geo3k_answer(response: str) -> str | None:
    """The final answer without its unit, written in one way as far as reading it as text can (see boxed_answer)."""
    answer = final_answer(response)
    return None if answer is None else normal_form(_number_and_unit(answer)[0])


def boxed_format(response: str, label: Any = None) -> float:
    r"""1 if the response is one ``<think>...</think>`` and behind it an answer with one ``\boxed{...}``; else 0.

    The label plays no part.
    """
    form = _THOUGHT.fullmatch(response)
    if form is None or response.count("<think>") != 1 or response.count("</think>") != 1:
        return 0.0
    return float(form[1].count(r"\boxed") == 1 and last_box(form[1]) not in (None, ""))


def final_answer(response: str) -> str | None:
    """What the response says in the end, or None if it does not mark it."""
    said = spoken(response)
    tagged = tagged_answer(said)
    boxed = last_box(said if tagged is None else tagged)
    return tagged if boxed is None else boxed


def _number_and_unit(text: str) -> tuple[str, tuple[str, int] | None]:
    """(the expression, its unit and that one's power). Degrees are no unit: angles are in degrees anyway."""
    text = _SPACES.sub(" ", _TEXT.sub(r" \1 ", text)).strip().strip("$").strip().rstrip(".")
    text = _ROOT.sub(r"\\sqrt{\1}", _EQUALS.split(text)[-1]).strip()
    text = _DEGREES.sub("", text).strip()
    found = _UNIT.search(text)
    if found is None or not text[: found.start()].strip():
        return text, None
    name = next(name for name in _LENGTHS if found[name])
    power = _POWERS[(found["word"] or found["power"] or "1")[0].lower()]
    return text[: found.start()].strip(), (name, power)


def _boxed(content: str) -> str:
    return rf"\boxed{{{content}}}"


def _label_text(label: Any) -> str:
    if isinstance(label, int | float) and not isinstance(label, bool):
        return repr(label)
    if not isinstance(label, str) or not label.strip():
        raise LabelError(f"rule geo3k needs an expression or a number as its label; this label is {label!r:.200}")
    return label

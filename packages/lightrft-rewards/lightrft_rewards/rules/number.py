"""Exact numbers: the last number of an answer, or the one after GSM8K's ``####``."""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lightrft_rewards.errors import LabelError

# A minus is a sign unless it follows a digit, a letter or a closing bracket ("10-7" holds 10 and 7). A number glued
# to a letter before it (x2, H2O) is part of a name. The exponent has at most three digits, so that no answer can ask
# for a number that does not fit into memory; the denominator's digits are possessive, so that reading takes time
# linear in the text.
_NUMBER = re.compile(
    r"""
    (?: \\?\$ )? (?: (?<![\w)\]]) (?P<sign> [-+\u2212] ) )? (?: \\?\$ )?
    (?<!\w)
    (?P<digits> \d{1,3} (?:,\d{3})+ (?!\d) (?:\.\d+)? | \d+ (?:\.\d+)? | (?<!\.)\.\d+ )
    (?: [eE] (?P<exponent> [-+]?\d{1,3} ) (?!\w) )?
    (?: / (?P<denominator> 0*+ [1-9] \d*+ ) (?!/) )?
    """,
    re.VERBOSE | re.ASCII,
)
_HASHES = "####"
_LONGEST = 1000
"""Characters of a number of which `last_number` and its like still give the exact form: that work is not linear."""


def number(response: str, label: Any) -> float:
    """1 if the last number in the response equals the label exactly, else 0 (0 too if it holds no number).

    Thousands separators, a dollar sign, decimals ("3.0" is 3), exponents and plain fractions ("1/2") are read.
    label: an int, a float, or a string that is one number. Raises LabelError for anything else.
    """
    expected = _label_number(label, "number")
    last = _last_match(response)
    return float(last is not None and _value(last) == expected)


def hash_answer(response: str, label: Any) -> float:
    """1 if the number after the last ``####`` of the response equals the label, else 0 (the format of GSM8K,
    Cobbe et al. 2021, arXiv 2110.14168).

    label: as for `number`, or a worked GSM8K solution that ends in ``#### 72``. Raises LabelError for anything else.
    """
    expected = _hash_number(label) if isinstance(label, str) and _HASHES in label else None
    if expected is None:
        expected = _label_number(label, "gsm8k")
    return float(_hash_number(response) == expected)


def last_number(response: str) -> str | None:
    """The last number in the response in its one exact form: 3, 3.0 and $3 give "3", 0.5 and 2/4 give "1/2".

    None without a number, or if the last one is longer than 1000 characters. Takes time linear in the response.
    """
    return _exact(_last_match(response))


def number_after_hashes(response: str) -> str | None:
    """As last_number, of the number after the last ``####``."""
    return _exact(_hash_match(response))


def plain_number(text: str) -> str | None:
    """As last_number, of a text that is one number and nothing else; None for any other."""
    return _exact(_NUMBER.fullmatch(text))


def _exact(match: re.Match[str] | None) -> str | None:
    return None if match is None or match.end() - match.start() > _LONGEST else str(_value(match))


def _last_match(text: str) -> re.Match[str] | None:
    last = deque(_NUMBER.finditer(text), maxlen=1)
    return last[0] if last else None


def _hash_match(text: str) -> re.Match[str] | None:
    """The first number on the line after the last ``####``."""
    _, hashes, rest = text.rpartition(_HASHES)
    return _NUMBER.search(rest.partition("\n")[0]) if hashes else None


def _hash_number(text: str) -> Fraction | None:
    match = _hash_match(text)
    return _value(match) if match else None


def _value(match: re.Match[str]) -> Fraction:
    """The exact value. By way of Decimal, which, unlike int, reads any number of digits."""
    value = Fraction(Decimal(match["digits"].replace(",", "")))
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
    if match["denominator"]:
        value /= Fraction(Decimal(match["denominator"]))
    return -value if match["sign"] in ("-", "\u2212") else value


def _label_number(label: Any, rule: str) -> Fraction:
    if isinstance(label, int | float) and not isinstance(label, bool):
        label = repr(label)
    if isinstance(label, str):
        match = _NUMBER.fullmatch(label.strip())
        if match:
            return _value(match)
    raise LabelError(f"rule {rule} needs a number as its label, such as 72 or '1,234'; this label is {label!r:.200}")

"""Text of models and files as a terminal may have it: nothing in it is obeyed."""

from __future__ import annotations

import unicodedata

_PICTURES = 0x2400
"""Where Unicode keeps a visible letter for each of the first 32 control characters."""

_KEPT = frozenset("\n\t\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
"""Newline and tab; what joins and parts the letters of emoji and of Persian; signs of Arabic that are seen."""


def harmless(text: str) -> str:
    """The same with everything visible that a terminal would obey, that turns the direction of text, or that hides in
    it, letter by letter: ESC as a picture of itself, the others by their number. What is written piece by piece comes
    out as if it were written at once."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    if letter in _KEPT or not unicodedata.category(letter).startswith(("C", "Zl", "Zp")):
        return letter
    code = ord(letter)
    if code < 0x20:
        return chr(_PICTURES + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"

"""Sources of prompts that ask a judge about comparisons: `judge:hpdv3:FILE`."""

from __future__ import annotations

JUDGED = ("judge", "judge-think", "judge-grade", "judge-grade-think")
"""What may stand before the colon."""


def split_judged(source: str) -> tuple[str, str]:
    """(how the judge is asked, the comparisons) of a source; ("", source) for any other."""
    name, colon, rest = source.partition(":")
    return (name, rest) if colon and name in JUDGED else ("", source)

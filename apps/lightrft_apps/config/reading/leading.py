"""Commands whose first words need no flag before them: what they read, and what they write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def named(argv: Sequence[str], *flags: str) -> list[str]:
    """The words with a flag before each of the first ones that lacks one: `A B --step 3` -> `--x A --y B --step 3`."""
    first = list(takewhile(lambda word: not word.startswith("-"), argv))[: len(flags)]
    pairs = zip(flags, first, strict=False)
    return [*(word for flag, value in pairs for word in (f"--{flag}", value)), *argv[len(first) :]]

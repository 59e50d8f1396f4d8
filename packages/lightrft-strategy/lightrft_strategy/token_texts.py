"""The text of each token of an answer, for people who read it token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile
from typing import Any, TypeAlias

NEAR = 4
"""Tokens before and behind one that its text may depend on: no character of UTF-8 has more bytes."""

FAR = 32
"""Tokens that are tried one by one for where a text that decodes only together ends."""

BROKEN = "\ufffd"
"""What bytes decode to that are no character, or not yet."""


class TokenTexts:
    """A tokenizer's ids as texts that together are the decoded answer, special tokens included.

    A character that is split over several tokens belongs to the last of them; the others have the text before it, often
    none. Texts are told apart in time linear in the number of tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._usual: dict[int, str | None] = {}

    def __call__(self, token_ids: Sequence[int]) -> list[str]:
        """[time] texts: "".join of them is the tokenizer's own text of these ids."""
        ids, whole = list(token_ids), self._decode(token_ids)
        texts: list[str] = []
        at = 0
        while len(texts) < len(ids):
            usual = self._usual_text(ids[len(texts)])
            if usual is not None and whole.startswith(usual, at):
                told = [usual]
            else:
                told = self._together(ids, len(texts), whole[at:])
            texts += told
            at += sum(map(len, told))
        if at < len(whole):
            texts[-1] += whole[at:]
        return texts

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def _usual_text(self, token: int) -> str | None:
        """A token's text within others; None if it is no whole text by itself."""
        if token not in self._usual:
            once, twice = self._decode([token]), self._decode([token, token])
            whole = twice.startswith(once) and BROKEN not in twice
            self._usual[token] = twice[len(once) :] if whole else None
        return self._usual[token]

    def _together(self, ids: list[int], first: int, rest: str) -> list[str]:
        """The texts of the fewest tokens from the first on whose text does not depend on those behind them.

        rest: what the tokens from the first on decode to.
        """
        before = ids[max(0, first - NEAR) : first]
        known = self._decode(before)

        def text(end: int) -> str:
            return self._decode(before + ids[first:end]).removeprefix(known)

        def settled(end: int) -> bool:
            told = text(end)
            return rest.startswith(told) and text(min(end + NEAR, len(ids))).startswith(told)

        for end in range(first + 1, min(first + FAR, len(ids)) + 1):
            if settled(end):
                return _cut([text(stop) for stop in range(first + 1, end + 1)], rest)
        count = 2 * FAR
        while first + count < len(ids):
            if settled(first + count):
                return [""] * (count - 1) + [text(first + count)]
            count *= 2
        return [""] * (len(ids) - first - 1) + [rest]


def _cut(grown: Sequence[str], rest: str) -> list[str]:
    """The text cut where each longer run of tokens agrees with it, never before the last cut; the last run is all."""
    ends = [0]
    for told in grown:
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(told, rest, strict=False))
        ends.append(max(ends[-1], sum(1 for _ in alike)))
    return [rest[start:end] for start, end in pairwise(ends)]


Texts: TypeAlias = Callable[[Sequence[int]], list[str]]
"""Token ids -> the text of each."""

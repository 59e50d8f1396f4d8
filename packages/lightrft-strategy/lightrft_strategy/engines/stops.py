"""Texts that end an answer, looked for in no more of its text than they could lie in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

PARTIAL = "\ufffd"
"""What the bytes of a character that is not complete decode to."""


class Tail:
    """The last tokens of one answer, enough that a stop text which the next token completes lies within their text.

    stops: the texts. deaf: how many tokens must come before one is heeded; text completed within them never is.
    """

    def __init__(self, stops: Sequence[str], deaf: int = 0) -> None:
        self.stops, self.deaf = stops, deaf
        self.longest = max(map(len, stops))
        self.most = 2 * max(len(stop.encode()) for stop in stops)
        self.token_ids: list[int] = []
        self.text = ""
        self.heard = 0
        self.ignored = 0

    def ends(self, text: str) -> bool:
        """Whether a stop text has been completed, `text` being that of token_ids, a token longer than before."""
        self.text, self.heard = text, self.heard + 1
        if self.heard <= self.deaf:
            self.ignored = len(text.rstrip(PARTIAL))
            return False
        return any(text.find(stop, max(0, self.ignored - len(stop) + 1)) >= 0 for stop in self.stops)

    @property
    def later_half(self) -> list[int]:
        return self.token_ids[len(self.token_ids) // 2 :]

    def shorten(self, text: str) -> None:
        """Keep the later half of the tokens, `text` being their text, if it is the end of ours and long enough.

        It is not the end of ours if the half begins within a character.
        """
        if len(text.rstrip(PARTIAL)) >= self.longest and self.text.endswith(text):
            self.token_ids = self.later_half
            self.ignored = max(0, self.ignored - len(self.text) + len(text))
            self.text = text


def completed(
    tails: Sequence[Tail], token_ids: Sequence[int], decode: Callable[[list[list[int]]], list[str]]
) -> list[bool]:
    """Which of these answers a stop text ends, now that each has one more token."""
    for tail, token in zip(tails, token_ids, strict=True):
        tail.token_ids.append(token)
    ended = [tail.ends(text) for tail, text in zip(tails, decode([t.token_ids for t in tails]), strict=True)]
    long = [tail for tail in tails if len(tail.token_ids) > tail.most]
    for tail, text in zip(long, decode([tail.later_half for tail in long]) if long else (), strict=True):
        tail.shorten(text)
    return ended

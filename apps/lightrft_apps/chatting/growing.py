"""The text of an answer while its tokens come in."""

from __future__ import annotations

from collections.abc import Callable

from lightrft_strategy.engines.stops import PARTIAL


class Growing:
    """Text by pieces: of each token, what the answer's text has become longer by.

    decode: token ids -> text. The pieces make up the text of all tokens, but for the bytes of a character that its
    last token leaves incomplete. A decoder that takes letters back (such as a space before a full stop) is waited for.
    """

    def __init__(self, decode: Callable[[list[list[int]]], list[str]]) -> None:
        self.decode = decode
        self.token_ids: list[int] = []
        self.text = ""

    def more(self, token: int) -> str:
        """The piece that one more token brings, "" if it completes no character."""
        self.token_ids.append(token)
        (whole,) = self.decode([self.token_ids])
        known = whole.rstrip(PARTIAL)
        if not known.startswith(self.text):
            return ""
        piece, self.text = known[len(self.text) :], known
        return piece

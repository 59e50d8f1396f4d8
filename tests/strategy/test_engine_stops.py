"""Stop texts: an answer ends with the first token after which its text holds one, however it falls into tokens."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_strategy.engines.stops import Tail, completed

SPECIAL = 1000


def byte_level(rows: list[list[int]]) -> list[str]:
    """Tokens 0 to 255 are bytes, 256 and on are pieces of several; the special one has no text."""
    pieces = [b"END", b"xEN", b"D\xc3", b"\xa9\xe4", b"\n\n", "é¥".encode()]
    return [
        b"".join(bytes([t]) if t < 256 else pieces[t - 256] for t in row if t != SPECIAL).decode(errors="replace")
        for row in rows
    ]


def stripping(rows: list[list[int]]) -> list[str]:
    """Words that bring a space along, which the first of a text loses."""
    words = [" a", " EN", "D", " D", "b", " "]
    return ["".join(words[t] for t in row).removeprefix(" ") for row in rows]


def first_end(token_ids: list[int], stops: list[str], decode) -> int:
    """By the definition: how many tokens it takes; one more than there are if they do not end."""
    texts = decode([token_ids[: i + 1] for i in range(len(token_ids))])
    return next((i + 1 for i, text in enumerate(texts) if any(stop in text for stop in stops)), len(token_ids) + 1)


def found_end(token_ids: list[int], stops: list[str], decode, deaf: int = 0) -> tuple[int, int]:
    """The same by `completed`, and the most tokens that were decoded at once."""
    tail, most = Tail(stops, deaf), 0
    for i, token in enumerate(token_ids):
        if completed([tail], [token], decode)[0]:
            return i + 1, most
        most = max(most, len(tail.token_ids))
    return len(token_ids) + 1, most


@given(
    seed=st.integers(0, 2**32),
    stops=st.sampled_from([["END"], ["é"], ["D\n\n", "xx"], ["EN", "¥E"], ["中"], ["ENDé¥"]]),
    length=st.integers(1, 120),
)
def test_with_bytes_for_tokens_the_end_is_where_the_whole_text_first_holds_it(seed, stops, length) -> None:
    rng = random.Random(seed)
    alphabet = [*b"END", *"é中".encode(), ord("\n"), ord("x"), *range(256, 262), SPECIAL]
    token_ids = rng.choices(alphabet, k=length)
    assert found_end(token_ids, stops, byte_level)[0] == first_end(token_ids, stops, byte_level)


@given(token_ids=st.lists(st.integers(0, 5), max_size=60), stops=st.sampled_from([["END"], [" EN D"], ["a D", "b b"]]))
def test_a_tokenizer_that_strips_the_first_space_is_read_rightly(token_ids, stops) -> None:
    assert found_end(token_ids, stops, stripping)[0] == first_end(token_ids, stops, stripping)


@pytest.mark.parametrize("token", [ord("x"), 260, "中".encode()])
def test_no_more_is_decoded_than_a_stop_text_could_lie_in(token) -> None:
    token_ids = list(token) * 700 if isinstance(token, bytes) else [token] * 2000
    end, most = found_end(token_ids, ["END"], byte_level)
    assert end == len(token_ids) + 1
    assert most <= 24


def test_a_text_within_the_least_tokens_is_not_heeded_but_one_that_reaches_beyond_is() -> None:
    early, late = list(b"xEND"), list(b"xENDEND")
    assert found_end(early, ["END"], byte_level, deaf=4)[0] == 5
    assert found_end(early, ["END"], byte_level, deaf=3)[0] == 4
    assert found_end([*early, *b"yyyyyyyyyyyyyyyyyyyy"], ["END"], byte_level, deaf=4)[0] == 25
    for deaf in (4, 5, 6):
        assert found_end(late, ["END"], byte_level, deaf=deaf)[0] == 7

"""Text by pieces: an answer while its tokens come in, and what a terminal may have of it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_apps.chatting.growing import Growing
from lightrft_apps.drawing.harmless import harmless


def decode(rows: list[list[int]]) -> list[str]:
    return [bytes(row).decode("utf-8", "replace") for row in rows]


@given(st.text(max_size=40))
def test_pieces_make_up_the_text_and_never_hold_half_a_character(text: str) -> None:
    growing = Growing(decode)
    pieces = [growing.more(byte) for byte in text.replace("\ufffd", "").encode("utf-8", "replace")]
    assert "".join(pieces) == text.replace("\ufffd", "").encode("utf-8", "replace").decode()
    assert "\ufffd" not in "".join(pieces)


def test_a_decoder_that_takes_a_letter_back_is_waited_for() -> None:
    texts = {1: "so ", 2: "so", 3: "so. yes"}
    growing = Growing(lambda rows: [texts[len(row)] for row in rows])
    assert [growing.more(0) for _ in range(3)] == ["so ", "", ""]
    assert growing.text == "so "


@given(st.text(st.characters(), max_size=60), st.integers(0, 60))
def test_no_text_commands_a_terminal_however_it_is_cut(text: str, cut: int) -> None:
    shown = harmless(text)
    assert {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs"} <= {"Cc"}
    assert all(letter in "\n\t" for letter in shown if unicodedata.category(letter) == "Cc")
    assert not any(unicodedata.bidirectional(letter) in BIDIRECTIONAL for letter in shown)
    assert harmless(text[:cut]) + harmless(text[cut:]) == shown == harmless(shown)


BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 世界!\n\tso",
        "\U0001f469\u200d\U0001f469\u200d\U0001f466 \u2764\ufe0f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u06dd",
    ],
    ids=["words", "a family and a heart", "Persian", "the end of a verse"],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("hidden", ["\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u2028", "\u202e", "\u061c", "\u200f"])
def test_what_hides_in_a_text_or_turns_it_around_is_written_by_its_number(hidden: str) -> None:
    assert harmless(f"pay{hidden}pal") == f"pay<U+{ord(hidden):04X}>pal"


@given(st.text())
def test_nothing_of_a_text_is_unseen_but_ends_of_lines_tabs_and_what_joins_letters(text: str) -> None:
    clean = harmless(text)
    assert all(letter.isprintable() or letter.isspace() or letter in KEPT for letter in clean)
    assert not set(clean) & {chr(code) for code in [*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029]}
    plain = "".join(letter for letter in text if letter.isalnum() and letter.isascii())
    assert harmless(plain) == plain


KEPT = "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"

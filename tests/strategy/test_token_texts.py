"""The text of each token: together they are the answer, and a split character belongs to its last token."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lightrft_strategy.token_texts import TokenTexts

Tokenizer = Any


def byte_pairs() -> Tokenizer:
    """SmolLM2's own: pairs of bytes."""
    from transformers import AutoTokenizer

    from lightrft_strategy.smollm2 import smollm2

    return AutoTokenizer.from_pretrained(smollm2())


def pieces_with_bytes() -> Tokenizer:
    """As Llama 2's: words that begin with a block, the first block left out, other characters byte by byte."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "the", "é", "▁▁", "日", "\n"]
    model = models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def word_pieces() -> Tokenizer:
    """As BERT's: words with spaces between them, and their continuations."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "run", "##ning", "##s", ".", ",", "n't", "日", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token="[SEP]", unk_token="[UNK]")


@pytest.fixture(scope="module", params=[byte_pairs, pieces_with_bytes, word_pieces], ids=lambda make: make.__name__)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    make: Callable[[], Tokenizer] = request.param
    return make()


@given(st.data())
def test_the_texts_of_any_tokens_are_together_what_they_decode_to(tokenizer: Tokenizer, data: st.DataObject) -> None:
    known = st.integers(0, len(tokenizer) - 1)
    ids = data.draw(st.lists(st.one_of(known, st.sampled_from(broken(tokenizer))), max_size=60))
    texts = TokenTexts(tokenizer)(ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == tokenizer.decode(ids)


@cache
def broken(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are no whole character, or just the last one."""
    found = [i for i in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([i])]
    return found or [len(tokenizer) - 1]


@given(st.text(max_size=40))
def test_a_text_is_cut_between_its_characters_and_a_split_one_is_the_last_tokens(
    smollm2_tokenizer: Tokenizer, text: str
) -> None:
    ids = smollm2_tokenizer(text).input_ids
    assume(smollm2_tokenizer.decode(ids) == text)
    texts, at = TokenTexts(smollm2_tokenizer)(ids), 0
    for i, told in enumerate(texts, start=1):
        at += len(told.encode())
        spoken = b"".join(smollm2_bytes(token) for token in smollm2_tokenizer.convert_ids_to_tokens(ids[:i]))
        complete = len(spoken.decode(errors="ignore").encode())
        assert at == complete, f"after token {i} of {texts}"
    assert at == len(text.encode())


@pytest.fixture(scope="module")
def smollm2_tokenizer() -> Tokenizer:
    return byte_pairs()


def smollm2_bytes(token: str) -> bytes:
    """What a token of pairs of bytes stands for, read off GPT-2's alphabet of bytes (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    return bytes(alphabet[letter] for letter in token)


def test_special_tokens_have_their_names_as_texts(smollm2_tokenizer: Tokenizer) -> None:
    ids = smollm2_tokenizer("é<|im_end|>").input_ids
    assert TokenTexts(smollm2_tokenizer)(ids)[-1] == "<|im_end|>"
    assert TokenTexts(smollm2_tokenizer)([]) == []


def test_ten_times_the_tokens_take_about_ten_times_the_time(tokenizer: Tokenizer) -> None:
    half = broken(tokenizer)
    ids = [half[17 * i % len(half)] if i % 3 else 31 * i % len(tokenizer) for i in range(4000)]
    texts = TokenTexts(tokenizer)
    texts(ids)

    def seconds(count: int) -> float:
        begin = time.process_time()
        texts(ids[:count])
        return time.process_time() - begin

    few, many = min(seconds(400) for _ in range(3)), min(seconds(4000) for _ in range(3))
    assert many < 40 * few + 0.05

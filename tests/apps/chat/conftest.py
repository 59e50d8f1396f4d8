"""What the tests of the chat share: tiny models that talk, one of them maliciously, and a terminal to talk in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5A\r"
    "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\u202e"
)
WORDS = ["sun ", "moon ", "red ", "blue ", "tree ", "bird ", "sea ", "four ", "five ", "2", "3", "4", "5", "\n"]
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Callable[..., Path]:
    """talker(seed) -> the folder of a model of random weights that says words, and has a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def make(seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("talker") / f"model{seed}"
        letters = [letter for letter in map(chr, range(32, 127)) if letter not in "2345"]
        vocabulary = {token: i for i, token in enumerate(["<end>", HOSTILE, *WORDS, *letters])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        tokenizer.decoder = decoders.Fuse()
        whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?")
        whole.chat_template = TEMPLATE
        whole.save_pretrained(folder)
        model = tiny_model(
            seed, vocab_size=len(vocabulary), eos_token_id=0, max_position_embeddings=1 << 16, initializer_range=0.2
        )
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def model(talker: Callable[..., Path]) -> Path:
    return talker(0)


@pytest.fixture(scope="session")
def other(talker: Callable[..., Path]) -> Path:
    return talker(1)


SAYS_WORDS = json.dumps({"0": -100, "1": -100} | {str(i): -100 for i in range(2 + len(WORDS), 2 + len(WORDS) + 91)})
"""A --logit_bias by which only WORDS are said, and answers go on up to their budget."""

SAYS_HOSTILE = json.dumps({"1": 100})

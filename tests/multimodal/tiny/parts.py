"""What tiny models of every family share: a tokenizer of bytes, a chat template that marks answers, random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

TURN = ("<|system|>", "<|user|>", "<|assistant|>")
END, PAD = "<|end|>", "<|pad|>"
VOCABULARY = 320
"""Embeddings a tiny model has: some more than its tokenizer has tokens."""


@dataclass(frozen=True)
class Sizes:
    """How large a tiny model is: width of its decoder and of its towers, and their heads."""

    hidden_size: int = 64
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    num_hidden_layers: int = 2
    vision_size: int = 32

    def text(self) -> dict[str, Any]:
        """The decoder's configuration."""
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": 3 * self.hidden_size // 2,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 1024,
            "initializer_range": 0.1,
        }

    def vision(self) -> dict[str, Any]:
        """A vision tower's configuration."""
        return {
            "hidden_size": self.vision_size,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }


def byte_tokenizer(
    named: Mapping[str, str], others: tuple[str, ...] = (), begin: str | None = None
) -> PreTrainedTokenizerFast:
    """A token a byte, and one for each special token.

    named: attribute of the tokenizer -> special token, as processors ask for them. begin: one that the tokenizer puts
    before every text, for families whose chat templates leave that to it.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, END, *TURN, *named.values(), *others])
    if begin is not None:
        tokenizer.add_special_tokens([begin])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, pad_token=PAD, eos_token=END, extra_special_tokens=dict(named)
    )


def chat_template(markers: Mapping[str, str]) -> str:
    """A template that writes each medium as its marker and marks what the assistant says.

    markers: type of a message's part -> what stands for it in the text.
    """
    media = "".join(f"{{% elif part['type'] == '{kind}' %}}{{{{ '{marker}' }}}}" for kind, marker in markers.items())
    content = (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}" + media + "{% endif %}"
        "{% endfor %}{% endif %}"
    )
    return (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
        "{% if message['role'] == 'assistant' %}"
        "{% generation %}" + content + "{{ '" + END + "' }}{% endgeneration %}"
        "{% else %}" + content + "{{ '" + END + "' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )


def save(build: Any, config: Any, processor: Any, folder: Path, seed: int) -> Path:
    """Write a model of random weights, none of them zero throughout, and its processor into a folder."""
    config.text_config.eos_token_id = config.eos_token_id = processor.tokenizer.eos_token_id
    config.text_config.pad_token_id = config.pad_token_id = processor.tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.05)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

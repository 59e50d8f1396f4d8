"""How large a tiny model is, and its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Sizes:
    """Of decoder, towers, tokenizer and media; every width is divided evenly by its number of heads.

    texts: what the tokenizer's tokens are learnt from. vocab_size: at most how many there are, bytes and special tokens
    included.
    patch_size: pixels of a patch's side; 2 x 2 patches are one token. min_pixels, max_pixels: what an image, or a frame
    of a video, is scaled to.
    max_seconds: of sound, the most that is heard at once.
    """

    texts: tuple[str, ...] = ()
    vocab_size: int = 320
    hidden_size: int = 64
    intermediate_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 4096
    initializer_range: float = 0.02
    tower_size: int = 32
    tower_layers: int = 2
    tower_heads: int = 2
    patch_size: int = 4
    min_pixels: int = 8 * 8
    max_pixels: int = 48 * 48
    num_mel_bins: int = 16
    max_seconds: int = 30

    @property
    def head_size(self) -> int:
        """Of the decoder's heads."""
        return self.hidden_size // self.num_attention_heads

    def text(self, tokenizer: Any) -> dict[str, Any]:
        """The decoder's config."""
        return {
            "vocab_size": len(tokenizer),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }

    def rope(self) -> dict[str, Any]:
        """The decoder's rotary embedding: half of the pairs turn with time, height and width as 2, 3 and 3."""
        eighth = self.head_size // 16
        return {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [self.head_size // 2 - 6 * eighth, 3 * eighth, 3 * eighth],
        }

    def pixels(self) -> dict[str, int]:
        """What an image is scaled to, as processors name it."""
        return {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}


def save(model_class: Any, config: Any, processor: Any, folder: Path, seed: int) -> Path:
    """Write a model with random weights of a seed and its processor into a folder, which is returned."""
    config.tie_word_embeddings = False
    config.eos_token_id, config.pad_token_id = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

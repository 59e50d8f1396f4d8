"""Models and their tokenizers as folders that transformers, vLLM and SGLang load."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a Hugging Face model (of one with an adapter, the adapter alone) and its tokenizer into a folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

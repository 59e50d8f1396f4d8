"""How much memory a language model's weights and its keys and values take."""

from __future__ import annotations

import os
from typing import Any

import torch

from lightrft_strategy.engines.config import EngineConfig


def kv_bytes_per_token(config: Any, itemsize: int) -> int:
    """Bytes of keys and values a sequence needs per token, by a Hugging Face config."""
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * itemsize)


def cache_bytes(model: Any, config: EngineConfig) -> int:
    """Keys and values an engine on the CPU sets aside: for all answers at their longest, within mem_util of memory."""
    per_token = kv_bytes_per_token(model, getattr(torch, config.dtype).itemsize)
    wanted = per_token * (config.max_model_len + 256) * (config.max_num_seqs + 1)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(wanted, config.mem_util * memory))

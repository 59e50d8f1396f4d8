"""What the ranks of test_planning_held.py do: hold a model, and count the bytes of all tensors that are alive then."""

from __future__ import annotations

import gc
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import Hold, OptimiserConfig, TorchRanks, TorchStrategy


def language_model() -> Any:
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def held_bytes(hold: Hold) -> int:
    """Of everything that holding the model for training in bfloat16 leaves alive on this rank."""
    before = _alive()
    strategy = TorchStrategy(
        {"policy": LanguageActor(language_model())},
        {"policy": OptimiserConfig(1e-3, total_steps=2)},
        bf16=True,
        hold=hold,
        ranks=TorchRanks(),
    )
    held = _alive() - before
    del strategy
    return held


def _alive() -> int:
    gc.collect()
    sizes: dict[int, int] = {}
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor):
            local = found.to_local() if hasattr(found, "to_local") else found
            storage = local.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())

"""What of the model is trained."""

from __future__ import annotations

from dataclasses import dataclass

ALL_LINEAR = "all-linear"
"""The target_modules that are all linear layers but the output head."""


@dataclass(frozen=True)
class LoraArgs:
    """What is trained: an adapter (LoRA), or all but what is frozen"""

    lora_rank: int = 0
    """train a low-rank adapter of this rank, and no weight of the model itself; 0: train the model"""
    lora_alpha: float = 16.0
    """the adapter's part is multiplied by lora_alpha / lora_rank"""
    lora_dropout: float = 0.0
    """stays 0: dropout would train another policy than the one that was sampled"""
    target_modules: str = ALL_LINEAR
    """layers that get an adapter, by the ends of their names, such as q_proj,v_proj; all-linear: all but the head"""
    load_in_4bit: bool = False
    """with lora_rank: hold the model in 4 bits (QLoRA); needs the package bitsandbytes and an engine_type embedded"""
    freeze_prefix: str | None = None
    """parameters that are not trained, by the beginnings of their names, such as model.embed_tokens,model.layers.0."""

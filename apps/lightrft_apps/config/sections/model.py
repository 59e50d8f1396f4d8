"""Which model is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelArgs:
    """The model"""

    pretrain: str
    """model to start from: a folder, a name on the Hugging Face hub, or smollm2, which comes along"""
    bf16: bool = False
    """bf16 compute over fp32 master weights"""
    fp16: bool = False
    """fp16 compute over fp32 master weights, the loss scaled so that small gradients do not vanish"""
    attn_implementation: str | None = None
    """attention kernel, as transformers names it; its own choice is sdpa"""
    gradient_checkpointing: bool = False
    """compute activations again in the backward pass: less memory, more time"""
    trust_remote_code: bool = False
    """let the repositories of models, reward models too, run their own Python code"""

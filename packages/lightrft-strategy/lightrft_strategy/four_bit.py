"""Frozen weights in four bits under an adapter (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn

from lightrft_strategy.devices import device


def quantise(model: Any, compute_dtype: torch.dtype) -> None:
    """Hold the linear layers of a Hugging Face model, but not its head, as 4-bit normal floats on the accelerator.

    Their constants are quantised too (double quantisation, section 3). compute_dtype: what they are multiplied in.
    What is quantised cannot be trained; an adapter on it can.
    """
    kinds: Any = import_module("bitsandbytes.nn")
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is not nn.Linear or layer is head:
                continue
            shape = (layer.in_features, layer.out_features, layer.bias is not None)
            small = kinds.Linear4bit(*shape, compute_dtype=compute_dtype, quant_type="nf4")
            small.weight = kinds.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=small)
            small.bias = layer.bias
            setattr(parent, name, small.to(device()))
    model.to(device())
    model.is_loaded_in_4bit = True

"""Frozen weights in four bits under an adapter (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from lightrft_strategy.devices import device

_KIND = "nf4"
_MARK = f".quant_state.bitsandbytes__{_KIND}"
"""How the name of a quantised weight ends, in a state_dict, where its shape and blocks are told."""
_BLOCK = 64
"""Weights that share a scale. Where rows end within a block, bitsandbytes 0.50 takes other blocks' scales on CPUs with
AVX-512."""


def quantise(model: Any, compute_dtype: torch.dtype) -> None:
    """Hold the linear layers of a Hugging Face model (see fits) as 4-bit normal floats on the device.

    Their constants are quantised too (double quantisation, section 3). compute_dtype: what they are multiplied in.
    What is quantised cannot be trained; an adapter on it can.
    """
    kinds: Any = import_module("bitsandbytes.nn")
    for parent, name, layer in _linear_layers(model):
        shape = (layer.in_features, layer.out_features, layer.bias is not None)
        small = kinds.Linear4bit(*shape, compute_dtype=compute_dtype, quant_type=_KIND)
        small.weight = kinds.Params4bit(layer.weight.data, requires_grad=False, quant_type=_KIND, module=small)
        small.bias = layer.bias
        # Its kernel for CPUs with bfloat16 repacks the weights at the first inference, rounds their scales, and has no
        # backward: sampling would change the policy, and end its learning.
        small.support_avx512bf16_for_cpu = False
        setattr(parent, name, small.to(device()))
    model.to(device())
    model.is_loaded_in_4bit = True


def fits(layer: nn.Module, head: nn.Module | None) -> bool:
    """Whether a layer can be held in 4 bits: a linear one, not the head, with rows of whole blocks of 64 weights."""
    return type(layer) is nn.Linear and layer is not head and layer.in_features % _BLOCK == 0


def round_to_four_bits(model: Any) -> None:
    """Give the layers that quantise would hold in 4 bits the numbers that those bits stand for, in their own dtype."""
    numbers: Any = import_module("bitsandbytes.functional")
    for _, _, layer in _linear_layers(model):
        weight = layer.weight.data
        bits, scales = numbers.quantize_4bit(weight.to(device()), compress_statistics=True, quant_type=_KIND)
        weight.copy_(numbers.dequantize_4bit(bits, scales))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's state_dict; of weights in 4 bits the numbers these stand for, in the dtype of its other weights."""
    state = model.state_dict()
    small = [name.removesuffix(_MARK) for name in state if name.endswith(_MARK)]
    if not small:
        return state
    numbers: Any = import_module("bitsandbytes.functional")
    dtype = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    for name in small:
        weight: Any = model.get_parameter(name)
        state[name] = numbers.dequantize_4bit(weight.data, weight.quant_state).to(dtype)
        for part in [part for part in state if part.startswith(f"{name}.")]:
            del state[part]
    return state


def _linear_layers(model: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """(what holds it, its name there, the layer) of each that quantise holds in 4 bits."""
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if fits(layer, head):
                yield parent, name, layer

"""A model's weights in the order in which a processor multiplies a few rows by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


@contextmanager
def laid_out(model: nn.Module, rows: int) -> Iterator[None]:
    """Within, linear layers in bfloat16 on the CPU compute from copies of their weights laid out for so many rows.

    oneDNN lays a weight out anew at every call, which for the few rows of a decoding step costs as much as multiplying
    by it. The copies are of the weights as they stand on entry, and take as much memory as these. Other layers, and
    those whose forward somebody else has replaced, compute as ever.
    """
    linear = [module for module in model.modules() if type(module) is nn.Linear and "forward" not in vars(module)]
    layers = [layer for layer in linear if lays_out(layer.weight.dtype, layer.weight.device)]
    for layer in layers:
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight, rows)
        layer.forward = partial(_linear, weight, layer.bias)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def lays_out(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether weights of this type, computed with in this place, are laid out for decoding."""
    return (
        device.type == "cpu"
        and dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _linear(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # type: ignore[no-any-return]

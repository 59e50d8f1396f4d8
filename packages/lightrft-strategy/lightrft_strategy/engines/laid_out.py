"""A model's weights in the order in which a processor multiplies a few rows by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names that transformers gives to linear layers of one module that read the same input."""


@contextmanager
def laid_out(model: nn.Module, rows: int) -> Iterator[None]:
    """Within, linear layers in bfloat16 on the CPU compute from copies of their weights laid out for so many rows.

    oneDNN lays a weight out anew at every call, which for the few rows of a decoding step costs as much as multiplying
    by it. The copies are of the weights as they stand on entry, and take as much memory as these. Siblings are
    multiplied by in one product, for a call costs about as much as the product by a small weight. Other layers, and
    those whose forward somebody else has replaced, compute as ever.
    """
    replaced: list[nn.Linear] = []
    try:
        for layers in _products(model):
            product = _Product(layers, rows)
            for number, layer in enumerate(layers):
                layer.forward = partial(product.part, number)  # type: ignore[method-assign]
                replaced.append(layer)
        yield
    finally:
        for layer in replaced:
            del layer.forward


def lays_out(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether weights of this type, computed with in this place, are laid out for decoding."""
    return (
        device.type == "cpu"
        and dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class _Product:
    """Layers of one input as one layer: whichever is first asked computes for all, and keeps their parts for them."""

    def __init__(self, layers: Sequence[nn.Linear], rows: int) -> None:
        weight, biases = _joined([layer.weight for layer in layers]), [layer.bias for layer in layers]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self.bias = None if biases[0] is None else _joined(biases)
        self.sizes = [layer.out_features for layer in layers]
        self.read: Tensor | None = None
        self.parts: dict[int, Tensor] = {}

    def part(self, number: int, rows: Tensor) -> Tensor:
        if rows is not self.read or number not in self.parts:
            whole = torch.ops.mkldnn._linear_pointwise.default(rows, self.weight, self.bias, "none", [], "")
            self.read, self.parts = rows, dict(enumerate(whole.split(self.sizes, -1)))
        part = self.parts.pop(number)
        if not self.parts:
            self.read = None
        return part


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach() for tensor in tensors]) if len(tensors) > 1 else tensors[0]


def _products(model: nn.Module) -> Iterator[Sequence[nn.Linear]]:
    """The layers to lay out, siblings together."""
    taken: set[nn.Module] = set()
    for module in model.modules():
        for names in SIBLINGS:
            layers = [layer for layer in (getattr(module, name, None) for name in names) if _plain(layer)]
            if len(layers) == len(names) and len({layer.bias is None for layer in layers}) == 1:
                taken.update(layers)
                yield layers
    yield from ([module] for module in model.modules() if module not in taken and _plain(module))


def _plain(module: object) -> TypeGuard[nn.Linear]:
    return (
        type(module) is nn.Linear
        and "forward" not in vars(module)
        and lays_out(module.weight.dtype, module.weight.device)
    )

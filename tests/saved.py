"""What autograd keeps of a real pass, which plans are compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def storages(*tensors: Tensor) -> dict[int, int]:
    return {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}


def saved_bytes(module: nn.Module, run: Callable[[], Tensor]) -> int:
    """What autograd keeps of a real forward pass, parameters left out."""
    weights, sizes = storages(*module.parameters(), *module.buffers()), dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        sizes.update(storages(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    assert loss.requires_grad
    return sum(size for key, size in sizes.items() if key not in weights)

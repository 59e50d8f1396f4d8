"""What tells a model's weights from others'."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of the names, dtypes, shapes and bytes of all weights and buffers, wherever they lie, in hexadecimal."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

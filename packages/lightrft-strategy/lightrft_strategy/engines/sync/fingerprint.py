"""A number that two sides compute alone and that tells whether they hold the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

WIDTH = 4096
ROWS = 512
_MULTIPLIER = 0x5851F42D4C957F2D


def fingerprint(tensor: Tensor) -> str:
    """16 hex digits over a tensor's bytes, dtype and shape, computed on the tensor's own device.

    Each 32-bit word is multiplied by a number that depends on its place and all are added up modulo 2**64, so a changed
    word always shows, and swapped or shifted ones do but for chance. It guards against accidents, not against forgery.
    """
    words = _words(tensor)
    columns = _weights(WIDTH, words.device)
    total = 0
    for start in range(0, len(words), ROWS):
        block = words[start : start + ROWS].long()
        rows = (block * columns).sum(1)
        places = _weights(len(words), words.device)[start : start + ROWS]
        total += int((rows * places).sum())
    described = f"{total % 2**64}|{tensor.dtype}|{tuple(tensor.shape)}"
    return blake2b(described.encode(), digest_size=8).hexdigest()


def digest(fingerprints: Mapping[str, str]) -> str:
    """16 hex digits over all tensors of a model, by name."""
    lines = "\n".join(f"{name} {value}" for name, value in sorted(fingerprints.items()))
    return blake2b(lines.encode(), digest_size=8).hexdigest()


def _words(tensor: Tensor) -> Tensor:
    """[rows, WIDTH] int32: the tensor's bytes, zeros after the last."""
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
    raw = torch.nn.functional.pad(raw, (0, -len(raw) % (4 * WIDTH))) if len(raw) % (4 * WIDTH) else raw
    return raw.view(torch.int32).view(-1, WIDTH)


def _weights(count: int, device: torch.device) -> Tensor:
    """[count] odd numbers modulo 2**64, all different."""
    return (torch.arange(count, device=device) * _MULTIPLIER) * 2 + 1

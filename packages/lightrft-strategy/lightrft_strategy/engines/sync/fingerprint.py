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

    The sum over rows r and columns c of word[r, c] * odd[r] * odd[c] modulo 2**64 (a multilinear hash of Carter and
    Wegman's kind, with fixed odd keys): a changed word always shows, because odd numbers have inverses, and swapped or
    shifted ones do but for chance. It guards against accidents, not against forgery.
    """
    words = _words(tensor)
    columns, rows = _weights(WIDTH, words.device), _weights(len(words), words.device)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, len(words), ROWS):
        block = slice(start, start + ROWS)
        total += ((words[block].long() * columns).sum(1) * rows[block]).sum()
    described = f"{int(total)}|{tensor.dtype}|{tuple(tensor.shape)}"
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

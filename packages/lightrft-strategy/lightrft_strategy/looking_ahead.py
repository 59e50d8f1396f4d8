"""Masks of models whose image tokens see each other whatever their order (Gemma 3, arXiv 2503.19786, section 2.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def looking_ahead_masks(config: Any, real: Tensor, blocks: Tensor) -> dict[str, Tensor]:
    """Which keys each query sees, [rows, 1, time, time] bool, for each kind of layer of a text model's config.

    real: [rows, time], False in padding, which nobody sees but itself. blocks: [rows, time] tokens of one number see
    each other, if the later does not look back further than a layer's window; -1: what stands before them alone.
    """
    places = torch.arange(real.shape[1], device=real.device)
    behind = places[:, None] - places
    together = (blocks[:, :, None] == blocks[:, None]) & (blocks >= 0)[:, None]
    masks = {}
    for kind in sorted(set(config.layer_types)):
        near = behind < (config.sliding_window if kind == "sliding_attention" else len(places))
        masks[kind] = (near & ((behind >= 0) | together) & real[:, None] | (behind == 0))[:, None]
    return masks

"""Towers that see squares of one size, whole images or tiles of them, and make as many embeddings of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Inputs, Seen, joined, onto


def see(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """All squares of all prompts, pixel_values [squares, channels, height, width] of each, in one run."""
    squares = joined(inputs, "pixel_values")
    weight = next(base.vision_tower.parameters())
    features = base.get_image_features(pixel_values=onto(weight, torch.cat(squares))).pooler_output
    return by_prompt(features, [len(own) for own in squares])


def by_prompt(parts: Iterable[Tensor], counts: Sequence[int]) -> list[Mapping[str, Seen]]:
    """For each prompt its next count of parts, each [tokens, dim], which stand at placeholders of one kind: image."""
    left = iter(parts)
    return [{"image": Seen(torch.cat([next(left) for _ in range(count)]))} for count in counts]

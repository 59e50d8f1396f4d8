"""Towers that see squares of one size, whole images or tiles of them, and make as many embeddings of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Inputs, Outlines, Seen, joined, onto


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


def outlines(embeddings: Callable[[Any], int], *, tiles: bool = False) -> Outlines:
    """Of media that are one square, or with tiles any number of them. embeddings: config -> those of a square."""

    def largest(config: Any, modality: str, tokens: int) -> int:
        each = embeddings(config)
        return (tokens // each if tiles else min(1, tokens // each)) * each

    def inputs(config: Any, modality: str, tokens: Sequence[int]) -> Inputs:
        squares = sum(tokens) // embeddings(config)
        channels = config.vision_config.num_channels
        return {"pixel_values": torch.empty(squares, channels, *sides(config.vision_config), device="meta")}

    return Outlines(largest, inputs)


def sides(vision: Any) -> tuple[int, int]:
    """Height and width of a square in pixels."""
    size = vision.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def patches(vision: Any) -> int:
    """Of a square."""
    size = vision.patch_size
    height, width = (size, size) if isinstance(size, int) else size
    return sides(vision)[0] // height * (sides(vision)[1] // width)

"""Idefics3 (Laurençon et al. 2024, arXiv 2408.12637): an image in rows and columns of tiles, and whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_core import Media
from lightrft_multimodal.adapters.family import Family, Inputs, Seen, Tower, image_text_model, joined, onto
from lightrft_multimodal.adapters.squares import by_prompt


def see(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """All tiles in one run."""
    tiles = joined(inputs, "pixel_values")
    weight = next(base.vision_model.parameters())
    masks = torch.cat(joined(inputs, "pixel_attention_mask")).to(weight.device)
    features = base.get_image_features(onto(weight, torch.cat(tiles))[None], masks[None]).pooler_output
    return by_prompt(features, [len(own) for own in tiles])


def finish(processor: Any, media: Sequence[Media], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """pixel_values [tiles, channels, height, width] and pixel_attention_mask [tiles, height, width] of one prompt."""
    pixels = inputs["pixel_values"].flatten(0, 1)
    masks = inputs.get("pixel_attention_mask", torch.ones_like(pixels[:, 0], dtype=torch.int64)[None]).flatten(0, 1)
    real = pixels.flatten(1).any(1)
    return {"pixel_values": pixels[real], "pixel_attention_mask": masks[real]}


def merged(config: Any) -> dict[str, float]:
    """Squares of patches become one embedding."""
    return {"image": float(config.scale_factor**2)}


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image",), ("vision_model", "connector"), see, merged),),
    placeholders=lambda config: {"image": config.image_token_id},
    decoder="text_model",
    finish=finish,
)

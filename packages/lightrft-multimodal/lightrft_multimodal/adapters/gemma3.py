"""Gemma 3 (Gemma team 2025, arXiv 2503.19786): an image is one square, whose tokens see each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightrft_multimodal.adapters.family import Family, Tower, image_text_model
from lightrft_multimodal.adapters.squares import outlines, see


def blocks(ids: Tensor, mask: Tensor, kinds: Mapping[str, int]) -> Tensor:
    """[prompts, time] the number of each run of image tokens, from 0 in every prompt (section 2.1); -1 elsewhere."""
    image = (ids == kinds["image"]) & mask.bool()
    begins = image & ~pad(image, (1, 0))[:, :-1]
    return torch.where(image, begins.cumsum(1) - 1, -1)


def merged(config: Any) -> dict[str, float]:
    """Squares of patches are averaged into one embedding."""
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return {"image": patches / config.mm_tokens_per_image}


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image",), ("vision_tower", "multi_modal_projector"), see, merged),),
    placeholders=lambda config: {"image": config.image_token_id},
    blocks=blocks,
    engine_names={"model.vision_tower.": "model.vision_tower.vision_model."},
    outlines=outlines(lambda config: config.mm_tokens_per_image),
)

"""LLaVA-NeXT (Liu et al. 2024, llava-vl.github.io/blog/2024-01-30-llava-next): an image whole and in parts.

The parts' embeddings form one picture again, without what it was padded with, a learnt one at the end of each line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightrft_multimodal.adapters.family import Family, Inputs, Seen, Tower, image_text_model, joined, onto
from lightrft_multimodal.adapters.squares import by_prompt

MODULES = ("vision_tower", "multi_modal_projector", "image_newline")


def see(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """All images in one run, each with as many parts as it has, whatever it was padded to."""
    images = joined(inputs, "pixel_values")
    weight = next(base.vision_tower.parameters())
    sizes = torch.cat(joined(inputs, "image_sizes"))
    features = base.get_image_features(pixel_values=onto(weight, stacked(images)), image_sizes=sizes).pooler_output
    return by_prompt(features, [len(own) for own in images])


def stacked(images: Sequence[Tensor]) -> Tensor:
    """[images, most parts, channels, height, width] of prompts' [images, parts, ...], padded with zeros."""
    most = max(own.shape[1] for own in images)
    return torch.cat([pad(own, (0, 0) * 3 + (0, most - own.shape[1])) for own in images])


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image",), MODULES, see),),
    placeholders=lambda config: {"image": config.image_token_id},
    engine_names={"model.vision_tower.": "model.vision_tower.vision_model."},
)

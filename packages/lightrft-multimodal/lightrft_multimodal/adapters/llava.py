"""LLaVA (Liu et al. 2023, arXiv 2304.08485; 1.5: arXiv 2310.03744): an image is one square."""

from __future__ import annotations

from typing import Any

from lightrft_multimodal.adapters.family import Family, Tower, image_text_model
from lightrft_multimodal.adapters.squares import outlines, patches, see


def embeddings(config: Any) -> int:
    """Of an image: one a patch, and without the "default" choice that of the whole."""
    return patches(config.vision_config) + int(config.vision_feature_select_strategy != "default")


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image",), ("vision_tower", "multi_modal_projector"), see),),
    placeholders=lambda config: {"image": config.image_token_id},
    engine_names={"model.vision_tower.": "model.vision_tower.vision_model."},
    outlines=outlines(embeddings),
)

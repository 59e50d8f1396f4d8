"""InternVL (Chen et al. 2023, arXiv 2312.14238; InternVL3: Zhu et al. 2025, arXiv 2504.10479) as transformers has it.

An image is cut into tiles and shown whole after them; a frame of a video is one tile. All stand at one kind of token,
and the processor has put them into reading order.
"""

from __future__ import annotations

from typing import Any

from lightrft_multimodal.adapters.family import Family, Tower, image_text_model
from lightrft_multimodal.adapters.squares import outlines, patches, see


def merged(config: Any) -> dict[str, float]:
    """Squares of patches become one embedding."""
    return {"image": config.downsample_ratio**-2}


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image", "video"), ("vision_tower", "multi_modal_projector"), see, merged),),
    placeholders=lambda config: {"image": config.image_token_id},
    outlines=outlines(lambda config: round(patches(config.vision_config) * config.downsample_ratio**2), tiles=True),
)

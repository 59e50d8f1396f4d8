"""SmolVLM (Marafioti et al. 2025, arXiv 2504.05299): as Idefics3, and a frame of a video is one tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightrft_core import Media
from lightrft_multimodal.adapters import idefics3
from lightrft_multimodal.adapters.family import Tower
from lightrft_multimodal.media import MediaError


def finish(processor: Any, media: Sequence[Media], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """As of Idefics3. Raises MediaError for images beside videos, of which the processor keeps the videos alone."""
    if len({medium.modality for medium in media}) > 1:
        raise MediaError(f"{type(processor).__name__} reads images or videos, not both in one prompt")
    return idefics3.finish(processor, media, inputs)


FAMILY = replace(
    idefics3.FAMILY,
    towers=(Tower(("image", "video"), ("vision_model", "connector"), idefics3.see, idefics3.merged),),
    finish=finish,
)

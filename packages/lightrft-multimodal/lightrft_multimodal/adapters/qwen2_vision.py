"""Qwen2-VL (Wang et al. 2024, arXiv 2409.12191) and Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Family, Inputs, Outlines, Seen, Tower, image_text_model, joined, onto
from lightrft_multimodal.media import DEFAULT_LIMITS


def placeholders(config: Any) -> dict[str, int]:
    """The tokens of patches of images and of videos."""
    return {"image": config.image_token_id, "video": config.video_token_id}


def see(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """Images and videos in one run: both are rows of patches with a grid [time, height, width] for each medium."""
    weight, merged = next(base.visual.parameters()), base.visual.spatial_merge_size**2
    grids = torch.cat(joined(inputs, "image_grid_thw", "video_grid_thw"))
    patches = torch.cat(joined(inputs, "pixel_values", "pixel_values_videos"))
    output = base.visual(onto(weight, patches), grid_thw=grids.to(weight.device))
    deep = output.get("deepstack_features") or ()
    kinds = [
        (kind, int(one[f"{kind}_grid_thw"].prod(-1).sum()) // merged)
        for one in inputs
        for kind in ("image", "video")
        if f"{kind}_grid_thw" in one
    ]
    sizes = [size for _, size in kinds]
    parts = zip(*(layer.split(sizes) for layer in (output.pooler_output, *deep)), strict=True)
    found = iter(Seen(features, tuple(rest)) for features, *rest in parts)
    return [{kind: next(found) for kind in ("image", "video") if f"{kind}_grid_thw" in one} for one in inputs]


def positions(base: Any, ids: Tensor, inputs: Inputs) -> Tensor:
    """[3, time] time, height and width of multimodal rotary embedding (M-RoPE, section 2.1 of Qwen2-VL)."""
    kinds = (ids == base.config.image_token_id) + 2 * (ids == base.config.video_token_id)
    grids = {name: inputs.get(name) for name in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")}
    found: Tensor = base.get_rope_index(ids[None], mm_token_type_ids=kinds[None], **grids)[0][:, 0]
    return successive(found, kinds)


def successive(found: Tensor, kinds: Tensor) -> Tensor:
    """Positions [3, time] with each run of one kind [time] behind the largest, on all axes, of those before it.

    So the paper has it, and so engines and older versions of Transformers count. Version 5 lets text begin behind the
    height and width of a video, before its last moments if it lasts longer than it is wide.
    """
    lengths = torch.unique_consecutive(kinds, return_counts=True)[1].tolist()
    runs, following = list(torch.split_with_sizes(found, lengths, 1)), 0
    for number, run in enumerate(runs):
        runs[number] = run - run.min() + following
        following = int(runs[number].max()) + 1
    return torch.cat(runs, 1)


def merged(config: Any) -> dict[str, float]:
    """Squares of patches become one embedding."""
    return dict.fromkeys(("image", "video"), float(config.vision_config.spatial_merge_size**2))


def outlined(config: Any, modality: str, tokens: Sequence[int]) -> dict[str, Tensor]:
    """Images as near to squares as their tokens allow; videos with as few grids as frames may be large."""
    vision = config.vision_config
    most = DEFAULT_LIMITS.frame_pixels // (vision.patch_size * vision.spatial_merge_size) ** 2
    grids = [_grid(size, most if modality == "video" else size) for size in tokens]
    sides = torch.tensor(grids) * torch.tensor([1, vision.spatial_merge_size, vision.spatial_merge_size])
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.empty(int(sides.prod(-1).sum()), values, device="meta")
    return {"pixel_values" if modality == "image" else "pixel_values_videos": pixels, f"{modality}_grid_thw": sides}


def _grid(tokens: int, most: int) -> tuple[int, int, int]:
    """[time, height, width] of so many tokens, of which no moment has more than `most`."""
    times = next(times for times in range(-(-tokens // most), tokens + 1) if tokens % times == 0)
    height = next(side for side in range(isqrt(tokens // times), 0, -1) if tokens // times % side == 0)
    return times, height, tokens // times // height


OUTLINES = Outlines(lambda config, modality, tokens: tokens, outlined)

FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image", "video"), ("visual",), see, merged),),
    placeholders=placeholders,
    positions=positions,
    axes=3,
    outlines=OUTLINES,
)

"""LLaVA-OneVision (Li et al. 2024, arXiv 2408.03326): an only image also in parts, a video's frames pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Family, Inputs, Seen, Tower, image_text_model, onto
from lightrft_multimodal.adapters.llava_next import MODULES


def see(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """Parts of images and frames of videos in one run."""
    weight = next(base.vision_tower.parameters())
    parts = [_parts(base.config, one) for one in inputs]
    frames = [_frames(one) for one in inputs]
    groups = [group for both in zip(parts, frames, strict=True) for own in both for group in own]
    left = iter(torch.split(_seen(base, onto(weight, torch.cat(groups))), [len(group) for group in groups]))
    found: list[Mapping[str, Seen]] = []
    for one, own_parts, own_frames in zip(inputs, parts, frames, strict=True):
        kinds: dict[str, Seen] = {}
        if own_parts:
            images = [next(left) for _ in own_parts]
            kinds["image"] = Seen(torch.cat(_packed(base, images, one["image_sizes"])))
        if own_frames:
            videos = [_pooled(base, next(left)) for _ in own_frames]
            kinds["video"] = Seen(torch.cat(videos))
        found.append(kinds)
    return found


def _parts(config: Any, inputs: Inputs) -> list[Tensor]:
    """Of each image [parts, channels, height, width]: of an only one the whole and its parts, else the whole."""
    if "pixel_values" not in inputs:
        return []
    from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

    images, sizes = inputs["pixel_values"], inputs["image_sizes"]
    if len(images) > 1:
        return [image[:1] for image in images]
    count = image_size_to_num_patches(sizes[0], config.image_grid_pinpoints, config.vision_config.image_size)
    return [images[0, :count]]


def _frames(inputs: Inputs) -> list[Tensor]:
    """Of each video [frames, channels, height, width]."""
    return list(inputs["pixel_values_videos"]) if "pixel_values_videos" in inputs else []


def _seen(base: Any, squares: Tensor) -> Tensor:
    """[squares, patches, dim] of [squares, channels, height, width]."""
    config = base.config
    states = base.vision_tower(squares, output_hidden_states=True).hidden_states
    layers = config.vision_feature_layer
    chosen = states[layers] if isinstance(layers, int) else torch.cat([states[layer] for layer in layers], -1)
    if config.vision_feature_select_strategy == "default":
        chosen = chosen[:, 1:]
    projected: Tensor = base.multi_modal_projector(chosen)
    return projected


def _packed(base: Any, images: Sequence[Tensor], sizes: Tensor) -> list[Tensor]:
    packed, _ = base.pack_image_features(
        images, sizes, image_newline=base.image_newline, vision_aspect_ratio=base.config.vision_aspect_ratio
    )
    return list(packed)


def _pooled(base: Any, frames: Tensor) -> Tensor:
    """[tokens, dim] of a video's frames [frames, patches, dim]: a quarter as many, a learnt one at the end."""
    return torch.cat([base.apply_pooling(frames).flatten(0, 1), base.image_newline[None].to(frames.dtype)])


FAMILY = Family(
    model_class=image_text_model,
    towers=(Tower(("image", "video"), MODULES, see, lambda _: {"video": 4.0}),),
    placeholders=lambda config: {"image": config.image_token_id, "video": config.video_token_id},
    engine_names={"model.vision_tower.": "model.vision_tower.vision_model."},
)

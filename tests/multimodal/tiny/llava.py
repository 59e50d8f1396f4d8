"""Tiny LLaVA models: an image a tile (LLaVA), a tile and its parts (LLaVA-NeXT), and videos too (LLaVA-OneVision)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
)

from .parts import Sizes, byte_tokenizer, chat_template, save

IMAGE = {"image": "<image>"}
IMAGE_AND_VIDEO = {"image": "<image>", "video": "<video>"}
SIDE, PATCH = 24, 6
GRIDS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]


def _clip(sizes: Sizes) -> dict[str, Any]:
    return {
        **sizes.vision(),
        "model_type": "clip_vision_model",
        "image_size": SIDE,
        "patch_size": PATCH,
        "projection_dim": sizes.vision_size,
    }


def build(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write a LLaVA and its processor into a folder."""
    tokenizer = byte_tokenizer({"image_token": IMAGE["image"]}, begin="<s>")
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template(IMAGE),
    )
    config = LlavaConfig(
        vision_config=_clip(sizes),
        text_config={**sizes.text(), "model_type": "llama"},
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    return save(LlavaForConditionalGeneration, config, processor, folder, seed)


def build_next(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write a LLaVA-NeXT and its processor into a folder."""
    tokenizer = byte_tokenizer({"image_token": IMAGE["image"]}, begin="<s>")
    processor = LlavaNextProcessor(
        LlavaNextImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=GRIDS
        ),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template(IMAGE),
    )
    config = LlavaNextConfig(
        vision_config=_clip(sizes),
        text_config={**sizes.text(), "model_type": "llama"},
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=GRIDS,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    return save(LlavaNextForConditionalGeneration, config, processor, folder, seed)


def build_onevision(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write a LLaVA-OneVision and its processor into a folder; images of four tiles are scaled down."""
    aspect = "anyres_max_2"
    tokenizer = byte_tokenizer({"image_token": "<image>", "video_token": "<video>"})
    size = {"height": SIDE, "width": SIDE}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=GRIDS),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=aspect,
        chat_template=chat_template(IMAGE_AND_VIDEO),
    )
    config = LlavaOnevisionConfig(
        vision_config={
            **sizes.vision(),
            "model_type": "siglip_vision_model",
            "image_size": SIDE,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
        text_config={**sizes.text(), "model_type": "qwen2"},
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=GRIDS,
        vision_aspect_ratio=aspect,
    )
    return save(LlavaOnevisionForConditionalGeneration, config, processor, folder, seed)

"""A tiny Qwen2.5-VL: images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightrft_multimodal.tiny.sizes import Sizes, save
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer

NAMED = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}
WRITTEN = {modality: f"<|vision_start|><|{modality}_pad|><|vision_end|>" for modality in ("image", "video")}


def build_qwen2_5_vl(folder: Path, sizes: Sizes = Sizes(), *, seed: int = 0) -> Path:  # noqa: B008
    """Write the model, its tokenizer and its processor into a folder, which is returned."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = learnt_tokenizer(sizes.texts, sizes.vocab_size, NAMED)
    config = Qwen2_5_VLConfig(
        text_config={**sizes.text(tokenizer), "rope_parameters": sizes.rope()},
        vision_config=vision_config(sizes) | {"tokens_per_second": 2},
        **token_ids(tokenizer),
    )
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=sizes.patch_size, size=sizes.pixels()),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(
            patch_size=sizes.patch_size, size=sizes.pixels(), cap_pixels_per_frame=False
        ),
        chat_template=chat_template(WRITTEN),
    )
    return save(Qwen2_5_VLForConditionalGeneration, config, processor, folder, seed)


def vision_config(sizes: Sizes) -> dict[str, Any]:
    """Of a vision tower with windows of 2 x 2 tokens in all layers but the last."""
    return {
        "depth": sizes.tower_layers,
        "hidden_size": sizes.tower_size,
        "intermediate_size": 2 * sizes.tower_size,
        "num_heads": sizes.tower_heads,
        "out_hidden_size": sizes.hidden_size,
        "patch_size": sizes.patch_size,
        "window_size": 4 * sizes.patch_size,
        "fullatt_block_indexes": [sizes.tower_layers - 1],
        "initializer_range": sizes.initializer_range,
    }


def token_ids(tokenizer: Any) -> dict[str, int]:
    """The special tokens as the config names them."""
    return {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in NAMED.items()}

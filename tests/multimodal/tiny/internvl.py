"""A tiny InternVL: an image is up to four tiles, a video a tile a frame, a tile four tokens."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
)

from .parts import Sizes, byte_tokenizer, chat_template, save

MARKERS = {"image": "<IMG_CONTEXT>", "video": "<video>"}


def build(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write the model and its processor into a folder."""
    side = 28
    tokenizer = byte_tokenizer(
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": MARKERS["image"],
            "video_token": MARKERS["video"],
        }
    )
    size = {"height": side, "width": side}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, min_patches=1, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=chat_template(MARKERS),
    )
    config = InternVLConfig(
        vision_config={**sizes.vision(), "image_size": side, "patch_size": 7, "initializer_range": 0.1},
        text_config={**sizes.text(), "model_type": "qwen2", "tie_word_embeddings": False},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return save(InternVLForConditionalGeneration, config, processor, folder, seed)

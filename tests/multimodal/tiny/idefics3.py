"""Tiny Idefics3 and SmolVLM: an image is up to four parts in rows and columns and the whole, four tokens each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from .parts import Sizes, byte_tokenizer, chat_template, save

SIDE, PATCH = 16, 4
NAMED = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "end_of_utterance_token": "<end_of_utterance>",
    "global_image_token": "<global-img>",
}
ROWS_AND_COLUMNS = tuple(f"<row_{row + 1}_col_{column + 1}>" for row in range(6) for column in range(6))
CUT: dict[str, Any] = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}


def build(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write an Idefics3 and its processor into a folder."""
    tokenizer = byte_tokenizer(NAMED, ROWS_AND_COLUMNS)
    processor = Idefics3Processor(
        Idefics3ImageProcessor(**CUT), tokenizer, image_seq_len=4, chat_template=chat_template({"image": "<image>"})
    )
    config = Idefics3Config(
        vision_config={**sizes.vision(), "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.1},
        text_config={**sizes.text(), "model_type": "llama"},
        image_token_id=tokenizer.image_token_id,
    )
    return save(Idefics3ForConditionalGeneration, config, processor, folder, seed)


def build_smolvlm(folder: Path, sizes: Sizes = Sizes(), seed: int = 0) -> Path:  # noqa: B008
    """Write a SmolVLM and its processor into a folder."""
    tokenizer = byte_tokenizer({**NAMED, "video_token": "<video>"}, ROWS_AND_COLUMNS)
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**CUT),
        tokenizer,
        SmolVLMVideoProcessor(**CUT),
        image_seq_len=4,
        chat_template=chat_template({"image": "<image>", "video": "<video>"}),
    )
    config = SmolVLMConfig(
        vision_config={**sizes.vision(), "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.1},
        text_config={**sizes.text(), "model_type": "llama"},
        image_token_id=tokenizer.image_token_id,
    )
    return save(SmolVLMForConditionalGeneration, config, processor, folder, seed)

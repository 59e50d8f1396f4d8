"""Tiny Qwen2-VL and Qwen3-VL, out of the parts of the package's tiny Qwen2.5-VL."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from lightrft_multimodal.tiny.qwen2_5_vision import NAMED, WRITTEN, token_ids, vision_config
from lightrft_multimodal.tiny.sizes import Sizes, save
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer


def build_qwen2_vl(folder: Path, sizes: Sizes = Sizes(), *, seed: int = 0) -> Path:  # noqa: B008
    """Write a Qwen2-VL and its processor into a folder."""
    tokenizer = learnt_tokenizer(sizes.texts, sizes.vocab_size, NAMED)
    images = {"patch_size": sizes.patch_size, "size": sizes.pixels()}
    config = Qwen2VLConfig(
        text_config={**sizes.text(tokenizer), "rope_parameters": sizes.rope()},
        vision_config={
            "depth": sizes.tower_layers,
            "embed_dim": sizes.tower_size,
            "hidden_size": sizes.hidden_size,
            "num_heads": sizes.tower_heads,
            "mlp_ratio": 2,
            "patch_size": sizes.patch_size,
            "initializer_range": sizes.initializer_range,
        },
        **token_ids(tokenizer),
    )
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(**images),
        tokenizer,
        Qwen2VLVideoProcessor(**images, cap_pixels_per_frame=False),
        chat_template=chat_template(WRITTEN),
    )
    return save(Qwen2VLForConditionalGeneration, config, processor, folder, seed)


def build_qwen3_vl(folder: Path, sizes: Sizes = Sizes(), *, seed: int = 0) -> Path:  # noqa: B008
    """Write a Qwen3-VL, whose first tower layer reaches behind the first layer of its decoder, into a folder."""
    tokenizer = learnt_tokenizer(sizes.texts, sizes.vocab_size, NAMED)
    vision = vision_config(sizes)
    for name in ("window_size", "fullatt_block_indexes"):
        del vision[name]
    config = Qwen3VLConfig(
        text_config={
            **sizes.text(tokenizer),
            "head_dim": sizes.head_size,
            "rope_parameters": sizes.rope() | {"mrope_interleaved": True},
        },
        vision_config={**vision, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        **token_ids(tokenizer),
    )
    frames = {"shortest_edge": sizes.min_pixels, "longest_edge": 8 * sizes.max_pixels}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=sizes.patch_size, size=sizes.pixels()),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=sizes.patch_size, size=frames, cap_pixels_per_frame=False),
        chat_template=chat_template(WRITTEN),
    )
    return save(Qwen3VLForConditionalGeneration, config, processor, folder, seed)

"""A tiny Gemma 3: an image is sixteen tokens that see each other."""

from __future__ import annotations

from pathlib import Path

from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor

from .parts import Sizes, byte_tokenizer, chat_template, save


def build(folder: Path, sizes: Sizes = Sizes(), seed: int = 0, *, window: int = 24) -> Path:  # noqa: B008
    """Write the model and its processor into a folder. window: how many tokens its first layer looks back at."""
    side = 32
    tokenizer = byte_tokenizer(
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        tuple("\n" * count for count in range(1, 5)),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": side, "width": side}),
        tokenizer,
        image_seq_length=16,
        chat_template=chat_template({"image": "<start_of_image>"}),
    )
    width = sizes.hidden_size // sizes.num_attention_heads
    config = Gemma3Config(
        vision_config={**sizes.vision(), "image_size": side, "patch_size": 4, "vision_use_head": False},
        text_config={
            **sizes.text(),
            "initializer_range": 0.02,
            "head_dim": width,
            "query_pre_attn_scalar": width,
            "sliding_window": window,
            "layer_types": (["sliding_attention", "full_attention"] * sizes.num_hidden_layers)[
                : sizes.num_hidden_layers
            ],
        },
        mm_tokens_per_image=16,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        initializer_range=0.1,
    )
    return save(Gemma3ForConditionalGeneration, config, processor, folder, seed)

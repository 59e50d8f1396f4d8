"""A tiny Qwen2-Audio: sounds, each padded to the longest it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightrft_multimodal.tiny.sizes import Sizes, save
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer

NAMED = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}


def build_qwen2_audio(folder: Path, sizes: Sizes = Sizes(), *, seed: int = 0) -> Path:  # noqa: B008
    """Write the model, its tokenizer and its processor into a folder, which is returned."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = learnt_tokenizer(sizes.texts, sizes.vocab_size, NAMED)
    config = Qwen2AudioConfig(
        audio_config=audio_config(sizes),
        text_config={**sizes.text(tokenizer), "model_type": "qwen2", "rope_parameters": {"rope_type": "default"}},
        audio_token_index=tokenizer.convert_tokens_to_ids(NAMED["audio_token"]),
    )
    processor = Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=sizes.num_mel_bins, chunk_length=sizes.max_seconds),
        tokenizer,
        chat_template=chat_template({"audio": "<|audio_bos|><|AUDIO|><|audio_eos|>"}),
    )
    return save(Qwen2AudioForConditionalGeneration, config, processor, folder, seed)


def audio_config(sizes: Sizes) -> dict[str, Any]:
    """Of an audio tower of Whisper's kind."""
    return {
        "num_mel_bins": sizes.num_mel_bins,
        "d_model": sizes.tower_size,
        "encoder_layers": sizes.tower_layers,
        "encoder_attention_heads": sizes.tower_heads,
        "encoder_ffn_dim": 2 * sizes.tower_size,
        "max_source_positions": 50 * sizes.max_seconds,
        "init_std": sizes.initializer_range,
        "initializer_range": sizes.initializer_range,
    }

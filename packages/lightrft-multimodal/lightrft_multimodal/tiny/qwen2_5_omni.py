"""A tiny thinker of Qwen2.5-Omni: images, videos and sounds."""

from __future__ import annotations

from pathlib import Path

from lightrft_multimodal.tiny.qwen2_5_vision import vision_config
from lightrft_multimodal.tiny.qwen2_audio import audio_config
from lightrft_multimodal.tiny.sizes import Sizes, save
from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer

NAMED = {
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
WRITTEN = {
    "image": "<|vision_bos|><|IMAGE|><|vision_eos|>",
    "video": "<|vision_bos|><|VIDEO|><|vision_eos|>",
    "audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
}


def build_qwen2_5_omni(folder: Path, sizes: Sizes = Sizes(), *, seed: int = 0) -> Path:  # noqa: B008
    """Write the thinker, its tokenizer and its processor into a folder, which is returned."""
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = learnt_tokenizer(sizes.texts, sizes.vocab_size, NAMED)
    # The processor scales frames to 100,352 pixels or more, whatever its video processor says, unless this does.
    tokenizer.init_kwargs["size"] = sizes.pixels()
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in NAMED.items()}
    config = Qwen2_5OmniThinkerConfig(
        audio_config={**audio_config(sizes), "n_window": 50, "output_dim": sizes.hidden_size},
        vision_config=vision_config(sizes),
        text_config={**sizes.text(tokenizer), "rope_parameters": sizes.rope()},
        image_token_index=ids["image_token"],
        video_token_index=ids["video_token"],
        audio_token_index=ids["audio_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
    )
    images = {"patch_size": sizes.patch_size, "size": sizes.pixels()}
    processor = Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(**images),
        video_processor=Qwen2VLVideoProcessor(**images, cap_pixels_per_frame=False),
        feature_extractor=WhisperFeatureExtractor(feature_size=sizes.num_mel_bins, chunk_length=sizes.max_seconds),
        tokenizer=tokenizer,
        chat_template=chat_template(WRITTEN),
    )
    return save(Qwen2_5OmniThinkerForConditionalGeneration, config, processor, folder, seed)

"""The thinker of Qwen2.5-Omni (Xu et al. 2025, arXiv 2503.20215): what reads and writes text, without what speaks.

A video's own sound is not heard: give it as a sound beside the video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_core import Media
from lightrft_multimodal.adapters.family import Family, Inputs, Outlines, Seen, Tower, onto
from lightrft_multimodal.adapters.qwen2_vision import merged, see
from lightrft_multimodal.adapters.qwen2_vision import outlined as vision_outlined
from lightrft_multimodal.adapters.qwen2_vision import placeholders as vision_placeholders
from lightrft_multimodal.adapters.qwen_audio import mel_frames


def model_class() -> Any:
    """The class that loads a thinker, of a whole checkpoint too."""
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    return Qwen2_5OmniThinkerForConditionalGeneration


def thinker_config(config: Any) -> Any:
    """The thinker's, in that of a whole checkpoint."""
    return config.thinker_config if config.model_type == "qwen2_5_omni" else config


def placeholders(config: Any) -> dict[str, int]:
    """The tokens of patches of images and videos and of sounds."""
    return {**vision_placeholders(config), "audio": config.audio_token_id}


def finish(processor: Any, media: Sequence[Media], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the padding of sounds to five minutes, and with each video's own seconds between its grids."""
    videos: list[Any] = [medium for medium in media if medium.modality == "video"]
    if videos:
        seconds = [processor.video_processor.temporal_patch_size / video.fps for video in videos]
        inputs["video_second_per_grid"] = torch.tensor(seconds)
    if "input_features" in inputs:
        longest = int(inputs["feature_attention_mask"].sum(-1).max())
        for name in ("input_features", "feature_attention_mask"):
            inputs[name] = inputs[name][..., :longest].contiguous()
    return inputs


def hear(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """All sounds in one row, without padding."""
    tower, weight = base.audio_tower, next(base.audio_tower.parameters())
    masks = [one["feature_attention_mask"].bool() for one in inputs]
    rows = [one["input_features"].transpose(1, 2)[mask] for one, mask in zip(inputs, masks, strict=True)]
    frames = [mask.sum(-1) for mask in masks]
    strided, _ = tower._get_feat_extract_output_lengths(torch.cat(frames))
    heard = tower(
        onto(weight, torch.cat(rows).T),
        feature_lens=torch.cat(frames).to(weight.device),
        aftercnn_lens=strided.to(weight.device),
    ).last_hidden_state
    lengths = [int(tower._get_feat_extract_output_lengths(own)[1].sum()) for own in frames]
    return [{"audio": Seen(part)} for part in heard.split(lengths)]


def positions(base: Any, ids: Tensor, inputs: Inputs) -> Tensor:
    """[3, time] of TMRoPE (section 2.2): time, height and width."""
    mask = inputs.get("feature_attention_mask")
    found: Tensor = base.get_rope_index(
        ids[None],
        inputs.get("image_grid_thw"),
        inputs.get("video_grid_thw"),
        attention_mask=torch.ones_like(ids)[None],
        audio_seqlens=None if mask is None else mask.sum(-1),
        second_per_grids=inputs.get("video_second_per_grid"),
    )[0][:, 0]
    return found


def outlined(config: Any, modality: str, tokens: Sequence[int]) -> dict[str, Tensor]:
    """Images and videos as of Qwen2.5-VL; sounds of one length, without padding."""
    if modality != "audio":
        return vision_outlined(config, modality, tokens)
    return mel_frames(config.audio_config, tokens, 4 * max(tokens))


def headless(model: Any) -> Any:
    """The thinker itself, its output head taken off: it is its own base model."""
    model.lm_head = None
    return model


FAMILY = Family(
    model_class=model_class,
    towers=(
        Tower(("image", "video"), ("visual",), see, merged),
        Tower(("audio",), ("audio_tower",), hear, lambda _: {"audio": 2.0}),
    ),
    placeholders=placeholders,
    root="",
    decoder="model",
    positions=positions,
    axes=3,
    finish=finish,
    headless=headless,
    config=thinker_config,
    engine_names={"": "thinker."},
    outlines=Outlines(lambda config, modality, tokens: tokens, outlined),
)

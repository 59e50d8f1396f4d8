"""Qwen2-Audio (Chu et al. 2024, arXiv 2407.10759)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_multimodal.adapters.family import Family, Inputs, Outlines, Seen, Tower, joined, onto


def model_class() -> Any:
    """The class that loads its checkpoints."""
    from transformers import Qwen2AudioForConditionalGeneration

    return Qwen2AudioForConditionalGeneration


def hear(base: Any, inputs: Sequence[Inputs]) -> list[Mapping[str, Seen]]:
    """Every sound is 30 s of mel bands, of which the tower attends to those that are not padding."""
    from transformers.masking_utils import create_bidirectional_mask

    tower, weight = base.audio_tower, next(base.audio_tower.parameters())
    frames = torch.cat(joined(inputs, "feature_attention_mask")).sum(-1)
    bands = onto(weight, torch.cat(joined(inputs, "input_features")))
    strided, pooled = tower._get_feat_extract_output_lengths(frames)
    clock = torch.arange((bands.shape[-1] - 2) // 2 + 1)
    mask = create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=bands.new_zeros(len(bands), len(clock), 1),
        attention_mask=(clock < strided[:, None]).long().to(weight.device),
    )
    heard = base.multi_modal_projector(tower(bands, attention_mask=mask).last_hidden_state)
    sounds = iter(one[:length] for one, length in zip(heard, pooled.tolist(), strict=True))
    return [{"audio": Seen(torch.cat([next(sounds) for _ in one["input_features"]]))} for one in inputs]


def outlined(config: Any, modality: str, tokens: Sequence[int]) -> dict[str, Tensor]:
    """Sounds among as many mel frames as the tower hears; four of them are one embedding."""
    return mel_frames(config.audio_config, tokens, 2 * config.audio_config.max_source_positions)


def mel_frames(audio: Any, tokens: Sequence[int], frames: int) -> dict[str, Tensor]:
    """input_features [sounds, bands, frames] and feature_attention_mask [sounds, frames] of sounds so long."""
    mask = torch.arange(frames) < 4 * torch.tensor(tokens)[:, None]
    features = torch.empty(len(tokens), audio.num_mel_bins, frames, device="meta")
    return {"input_features": features, "feature_attention_mask": mask.long()}


def longest(config: Any, modality: str, tokens: int) -> int:
    """A sound is heard at once."""
    return min(tokens, int(config.audio_config.max_source_positions) // 2)


FAMILY = Family(
    model_class=model_class,
    towers=(Tower(("audio",), ("audio_tower", "multi_modal_projector"), hear, lambda _: {"audio": 2.0}),),
    placeholders=lambda config: {"audio": config.audio_token_id},
    engine_names={
        "model.language_model.": "language_model.model.",
        "model.": "",
        "lm_head.": "language_model.lm_head.",
    },
    outlines=Outlines(longest, outlined),
)

"""Which prompts it learns from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataArgs:
    """The prompts"""

    prompt_data: str
    """prompts to learn from: a file, a folder or a hub name, or geo3k:NAME by format; several separated by commas"""
    prompt_data_probs: str | None = None
    """share of each of several sources, such as 0.7,0.3; default: every row equally often"""
    prompt_split: str = "train"
    """split of the prompt data"""
    input_key: str = "input"
    """column that holds the prompt"""
    label_key: str = "label"
    """column that holds the right answer"""
    route_key: str = "route"
    """column that names the row's entry in reward_routes"""
    apply_chat_template: bool = False
    """format prompts with the tokenizer's chat template"""
    system_prompt: str | None = None
    """system message put before every prompt"""
    input_template: str | None = None
    """text around every prompt, with {} where the prompt goes"""
    max_samples: int | None = None
    """use only the first so many rows of each source; default: all"""
    prompt_max_len: int = 1024
    """longest prompt, in tokens, those of its media counted"""
    images_key: str = "images"
    """column that holds a prompt's image or list of images"""
    videos_key: str = "videos"
    """column that holds a prompt's video or list of videos"""
    audios_key: str = "audios"
    """column that holds a prompt's sound or list of sounds"""
    media_root: str | None = None
    """folder that paths of media are relative to and may not leave; default: that of the file they are named in"""
    media_urls: bool = False
    """fetch media that are given as URLs"""
    limit_mm_image_per_prompt: int | None = None
    """images a prompt may have; default: any number"""
    limit_mm_video_per_prompt: int | None = None
    """videos a prompt may have; default: any number"""
    limit_mm_audio_per_prompt: int | None = None
    """sounds a prompt may have; default: any number"""

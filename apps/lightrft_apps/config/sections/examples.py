"""Which examples it learns from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExamplesArgs:
    """The examples"""

    dataset: str
    """examples to learn from: a file, a folder or a hub name; several separated by commas"""
    dataset_probs: str | None = None
    """share of each of several sources, such as 0.7,0.3; default: every row equally often"""
    dataset_split: str = "train"
    """split of the examples"""
    input_key: str = "input"
    """column that holds what is asked, or a whole conversation as a list of messages"""
    output_key: str = "output"
    """column that holds the answer; without one, a conversation's last message is the answer"""
    apply_chat_template: bool = False
    """write conversations in the tokenizer's chat template"""
    multiturn: bool = False
    """learn every turn of the assistant; default: the last one alone"""
    pretrain_mode: bool = False
    """the input is plain text, and all of it is learnt; a text longer than max_len is cut into pieces"""
    system_prompt: str | None = None
    """system message put before every conversation that has none"""
    input_template: str | None = None
    """text around every input, with {} where it goes"""
    max_len: int = 2048
    """longest example, in tokens, those of its media counted; a longer conversation is rejected"""
    max_samples: int | None = None
    """use only the first so many rows of each source; default: all"""
    images_key: str = "images"
    """column that holds an example's image or list of images"""
    videos_key: str = "videos"
    """column that holds an example's video or list of videos"""
    audios_key: str = "audios"
    """column that holds an example's sound or list of sounds"""
    media_root: str | None = None
    """folder that paths of media are relative to and may not leave; default: that of the file they are named in"""
    media_urls: bool = False
    """fetch media that are given as URLs"""
    limit_mm_image_per_prompt: int | None = None
    """images an example may have; default: any number"""
    limit_mm_video_per_prompt: int | None = None
    """videos an example may have; default: any number"""
    limit_mm_audio_per_prompt: int | None = None
    """sounds an example may have; default: any number"""

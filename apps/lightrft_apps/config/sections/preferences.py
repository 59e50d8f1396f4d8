"""Which answers are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreferenceArgs:
    """The comparisons"""

    train_data: str
    """comparisons to learn from: a file, a folder or a hub name, or hpdv3:FILE by format; several with commas"""
    eval_data: str | None = None
    """comparisons held out, named and written as those to learn from; default: no evaluation"""
    train_data_probs: str | None = None
    """share of each of several sources, such as 0.7,0.3; default: every row equally often"""
    train_split: str = "train"
    """split of the comparisons"""
    prompt_key: str = "prompt"
    """column that holds the question: a text, or a conversation as a list of messages"""
    chosen_key: str = "chosen"
    """column that holds the better answer"""
    rejected_key: str = "rejected"
    """column that holds the worse answer"""
    images_key: str = "images"
    """column that holds a question's image or list of images"""
    videos_key: str = "videos"
    """column that holds a question's video or list of videos"""
    audios_key: str = "audios"
    """column that holds a question's sound or list of sounds"""
    apply_chat_template: bool = False
    """write conversations in the tokenizer's chat template"""
    max_len: int = 2048
    """longest question with its answer, in tokens, those of media counted; a longer one is rejected with its row"""
    max_samples: int | None = None
    """use only the first so many rows of each source; default: all"""
    media_root: str | None = None
    """folder that paths of media are relative to and may not leave; default: what the format says"""
    media_urls: bool = False
    """fetch media that are given as URLs"""

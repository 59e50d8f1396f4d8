"""The flags of prompt data, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightrft_strategy.data.conversation import check_input_template
from lightrft_strategy.data.mixture import mixture_weights
from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.rows import Keys
from lightrft_strategy.data.sources import split_sources


@dataclass(frozen=True)
class PromptSpec:
    """Where prompts come from and how they are written; each field is the flag of the same name.

    prompt_data: sources, comma separated: a .jsonl, .json, .csv or .parquet file, a folder of those or of a saved
        dataset, a dataset id (`openai/gsm8k?name=main`), a task (`reasoning_gym:chain_sum?size=500&seed=7`); before any
        but a task, perhaps the format of its rows (`geo3k:hiyouga/geometry3k`).
    prompt_split: which split of a dataset, or of a folder whose files are named for their splits.
    prompt_data_probs: the share of each source in the run, such as 0.7,0.3, of any sum; None: every row equally often.
    input_key, label_key, route_key: where a row keeps its prompt, its label, its reward route.
    apply_chat_template: write prompts in the tokenizer's chat template.
    system_prompt: a system message before each prompt that has none of its own; None for none.
    input_template: written around the input, which goes in its `{}`; other braces are doubled. None: the input alone.
    prompt_max_len: tokens a prompt may have; None for no limit.
    max_samples: read only this many first rows of each source, bad ones counted; None for all.
    images_key, videos_key, audios_key: where a row keeps its media: one or a list of them.
    media_root: the folder that paths of media are relative to and may not leave; None: that of the file they are named
        in (a dataset of the hub has none, and its rows name no files without it).
    media_urls: whether media are fetched from URLs.
    limit_mm_image_per_prompt, limit_mm_video_per_prompt, limit_mm_audio_per_prompt: how many a prompt may have; None
        for any number.

    Raises PromptDataError, naming the flag, where a field cannot be right.
    """

    prompt_data: str
    prompt_split: str = "train"
    prompt_data_probs: str | None = None
    input_key: str = "input"
    label_key: str = "label"
    route_key: str = "route"
    apply_chat_template: bool = False
    system_prompt: str | None = None
    input_template: str | None = None
    prompt_max_len: int | None = 1024
    max_samples: int | None = None
    images_key: str = "images"
    videos_key: str = "videos"
    audios_key: str = "audios"
    media_root: str | None = None
    media_urls: bool = False
    limit_mm_image_per_prompt: int | None = None
    limit_mm_video_per_prompt: int | None = None
    limit_mm_audio_per_prompt: int | None = None

    def __post_init__(self) -> None:
        sources, probs = self.sources, self.probs
        if probs is not None:
            mixture_weights(probs, len(sources))
        if self.input_template is not None:
            check_input_template(self.input_template)
        if self.prompt_max_len is not None and self.prompt_max_len < 1:
            raise PromptDataError(f"--prompt_max_len must be at least 1 token, not {self.prompt_max_len}")
        if self.max_samples is not None and self.max_samples < 1:
            raise PromptDataError(f"--max_samples must be at least 1 row, not {self.max_samples}")
        for modality, limit in self.media_limits.items():
            if limit is not None and limit < 0:
                raise PromptDataError(f"--limit_mm_{modality}_per_prompt must be 0 or more, not {limit}")
        if self.media_folder is not None and not self.media_folder.is_dir():
            raise PromptDataError(f"--media_root {self.media_root}: there is no such folder")

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources prompt_data names."""
        return split_sources(self.prompt_data)

    @property
    def probs(self) -> list[float] | None:
        """What PromptStream takes for prompt_data_probs."""
        if self.prompt_data_probs is None:
            return None
        try:
            return [float(share) for share in self.prompt_data_probs.split(",")]
        except ValueError as error:
            raise PromptDataError(
                f"--prompt_data_probs {self.prompt_data_probs}: give one number for each source, such as 0.7,0.3"
            ) from error

    @property
    def keys(self) -> Keys:
        return Keys(self.input_key, self.label_key, self.route_key, self.images_key, self.videos_key, self.audios_key)

    @property
    def media_folder(self) -> Path | None:
        """media_root as a path."""
        return None if self.media_root is None else Path(self.media_root).expanduser().absolute()

    @property
    def media_limits(self) -> dict[str, int | None]:
        """By modality, how many a prompt may have."""
        return {
            "image": self.limit_mm_image_per_prompt,
            "video": self.limit_mm_video_per_prompt,
            "audio": self.limit_mm_audio_per_prompt,
        }

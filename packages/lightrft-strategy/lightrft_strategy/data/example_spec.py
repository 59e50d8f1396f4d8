"""The flags of supervised data, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lightrft_strategy.data.rejected import PromptDataError, flags_called
from lightrft_strategy.data.spec import PromptSpec

_CALLED = {
    "--prompt_data_probs or --num_episodes": "--dataset_probs or --max_epochs",
    "--prompt_data_probs": "--dataset_probs",
    "--prompt_data": "--dataset",
    "--prompt_split": "--dataset_split",
    "--label_key": "--output_key",
    "--prompt_max_len": "--max_len",
}
"""What prompts are read by, and what the same is called where answers are given."""

_IN_BOTH = (
    "input_key",
    "apply_chat_template",
    "system_prompt",
    "input_template",
    "max_samples",
    "images_key",
    "videos_key",
    "audios_key",
    "media_root",
    "media_urls",
    "limit_mm_image_per_prompt",
    "limit_mm_video_per_prompt",
    "limit_mm_audio_per_prompt",
)


@dataclass(frozen=True)
class ExampleSpec:
    """Where examples come from and how they are written; each field is the flag of the same name.

    dataset: sources, as PromptSpec.prompt_data names them.
    dataset_split: which split of a dataset, or of a folder whose files are named for their splits.
    dataset_probs: the share of each source in the run, such as 0.7,0.3, of any sum; None: every row equally often.
    input_key: where a row keeps what it asks, or a whole conversation; output_key: where it keeps the answer.
    apply_chat_template: write conversations in the tokenizer's chat template.
    multiturn: learn all turns of the assistant; else the last one.
    pretrain_mode: the input is plain text, and all of it is learnt.
    system_prompt: a system message before each conversation that has none of its own; None for none.
    input_template: written around the input, which goes in its `{}`; other braces are doubled. None: the input alone.
    max_len: tokens an example may have.
    max_samples: read only this many first rows of each source, bad ones counted; None for all.
    images_key and all that follows: as in PromptSpec; what a prompt may have of media, an example may.

    Raises PromptDataError, naming the flag, where a field cannot be right, alone or beside the others.
    """

    dataset: str
    dataset_split: str = "train"
    dataset_probs: str | None = None
    input_key: str = "input"
    output_key: str = "output"
    apply_chat_template: bool = False
    multiturn: bool = False
    pretrain_mode: bool = False
    system_prompt: str | None = None
    input_template: str | None = None
    max_len: int = 2048
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
        _ = self.prompts
        for broken, problem in self._rules():
            if broken:
                raise PromptDataError(problem)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources `dataset` names."""
        return self.prompts.sources

    @property
    def probs(self) -> list[float] | None:
        """What ExampleStream takes for dataset_probs."""
        return self.prompts.probs

    @property
    def prompts(self) -> PromptSpec:
        """What is asked, read as prompts are; the answer stands where prompts have their label."""
        own = {name: getattr(self, name) for name in _IN_BOTH}
        with called_as_flags():
            return PromptSpec(
                self.dataset,
                prompt_split=self.dataset_split,
                prompt_data_probs=self.dataset_probs,
                label_key=self.output_key,
                prompt_max_len=self.max_len,
                **own,
            )

    def _rules(self) -> Iterator[tuple[bool, str]]:
        chat = self.apply_chat_template
        yield self.max_len < 2, f"--max_len {self.max_len}: an example has 2 tokens or more"
        yield self.pretrain_mode and chat, "--pretrain_mode reads plain text: leave --apply_chat_template out"
        yield (
            self.multiturn and not chat,
            "--multiturn: turns can be told apart in a chat template: add --apply_chat_template",
        )
        yield self.pretrain_mode and self.system_prompt is not None, "--pretrain_mode: leave --system_prompt out"
        yield (
            self.multiturn and self.input_template is not None,
            "--input_template is written around one input, and --multiturn learns several: leave one of them out",
        )


def called_as_flags() -> AbstractContextManager[None]:
    """Let what is said of the flags of prompts name those of examples, which mean the same."""
    return flags_called(_CALLED)

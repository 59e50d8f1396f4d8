"""The flags of prompt data, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass

from lightrft_strategy.data.conversation import check_input_template
from lightrft_strategy.data.mixture import mixture_weights
from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.rows import Keys
from lightrft_strategy.data.sources import split_sources


@dataclass(frozen=True)
class PromptSpec:
    """Where prompts come from and how they are written; each field is the flag of the same name.

    prompt_data: sources, comma separated: a .jsonl, .json, .csv or .parquet file, a folder of those or of a saved
        dataset, a dataset id (`openai/gsm8k?name=main`), a task (`reasoning_gym:chain_sum?size=500&seed=7`).
    prompt_split: which split of a dataset, or of a folder whose files are named for their splits.
    prompt_data_probs: the share of each source in the run, such as 0.7,0.3, of any sum; None: every row equally often.
    input_key, label_key, route_key: where a row keeps its prompt, its label, its reward route.
    apply_chat_template: write prompts in the tokenizer's chat template.
    system_prompt: a system message before each prompt that has none of its own; None for none.
    input_template: written around the input, which goes in its `{}`; other braces are doubled. None: the input alone.
    prompt_max_len: tokens a prompt may have; None for no limit.
    max_samples: read only this many first rows of each source, bad ones counted; None for all.

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
        return Keys(self.input_key, self.label_key, self.route_key)

"""The prompts of a run, read and checked: those to learn from, those held out, and what to tell about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightrft_apps.config import RLConfig
from lightrft_apps.data.judge_prompts import AllPrompts, load_all_prompts
from lightrft_apps.models import compose, loading
from lightrft_apps.models.senses import Senses
from lightrft_core import Prompt
from lightrft_strategy.data import (
    LoadedPrompts,
    PromptDataError,
    PromptStream,
    flags_called,
    overlap,
    write_rejected,
)

HELD_OUT = {"--prompt_data": "--eval_dataset", "--prompt_split": "--eval_split"}
"""What prompts are named by, and what the same is called of those held out."""


@dataclass(frozen=True)
class RunPrompts:
    """stream: by step. loaded, held_out: as they were read; evaluation: the held-out ones, named as such."""

    stream: PromptStream
    loaded: AllPrompts
    held_out: LoadedPrompts
    evaluation: list[Prompt]

    def warnings(self, rejected: Path) -> Iterator[str]:
        """What a person should know; rejected: where the rows lie that could not be used."""
        bad = self.loaded.rejected + self.held_out.rejected
        if bad:
            yield f"{len(bad)} rows could not be used and lie in {rejected}; the first: {bad[0]}"
        yield from [*self.loaded.warnings, *self.held_out.warnings]
        seen = overlap([prompt for source in self.loaded.sources for prompt in source], self.evaluation)
        if seen:
            yield f"{len(seen)} held-out prompts are also trained on; the first: {' = '.join(seen[0])}"


def read_prompts(config: RLConfig, senses: Senses, rejected: Path | None) -> RunPrompts:
    """Read all prompts; rows that cannot be used go to the file `rejected`, or nowhere. Raises PromptDataError."""
    try:
        folder = loading.model_folder(config.model.pretrain)
        loaded = load_all_prompts(compose.prompt_spec(config.data), senses, folder)
        spec = compose.eval_spec(config)
        held_out = LoadedPrompts([], [], [])
        if spec is not None:
            with flags_called(HELD_OUT):
                held_out = load_all_prompts(spec, senses, folder)
    except PromptDataError as error:
        if rejected is not None:
            write_rejected(rejected, error.rejected)
        raise
    if rejected is not None:
        write_rejected(rejected, loaded.rejected + held_out.rejected)
    probs, size = compose.prompt_spec(config.data).probs, config.rollout.rollout_batch_size
    stream = PromptStream(loaded.sources, probs, size, config.train.num_episodes, config.run.seed)
    if config.train.max_steps is not None:
        stream.num_steps = min(stream.num_steps, config.train.max_steps)
    return RunPrompts(stream, loaded, held_out, compose.held_out(held_out.sources))

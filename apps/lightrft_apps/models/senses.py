"""What a run's models read prompts with: their tokenizer and, where they see or hear, the adapter of their family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightrft_apps.config import ConfigError
from lightrft_apps.config.sections import RanksArgs
from lightrft_multimodal.adapters import MediaAdapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_strategy.reading import TEXT, Reader


@dataclass(frozen=True)
class Senses:
    """tokenizer: of text. adapter: of media, None where the models read text alone."""

    tokenizer: Any
    adapter: MediaAdapter | None = None

    @property
    def processor(self) -> Any:
        """What is saved beside a model so that it can be loaded again: the whole processor, or the tokenizer."""
        return self.tokenizer if self.adapter is None else self.adapter.processor

    def reader(self, parallel: RanksArgs) -> Reader:
        """How models read batches. Ranks that hold models in shards run every tower for every batch."""
        if self.adapter is None:
            return TEXT
        return Reader(self.adapter, every_tower=parallel.fsdp or parallel.zero_stage is not None)

    @property
    def encoder(self) -> MediaEncoder | None:
        """What makes prompts of rows with media."""
        return None if self.adapter is None else MediaEncoder(self.adapter)

    def factors(self, learning_rate: float, of_towers: float | None, within: str = "") -> dict[str, float]:
        """What the learning rate of an actor's weights is multiplied by, by how their names begin.

        within: what of the whole model the actor holds, by the beginning of its weights' names; "": all of it.
        Raises ConfigError for a rate of towers where there are none.
        """
        if of_towers is None:
            return {}
        if self.adapter is None:
            raise ConfigError([f"--vision_learning_rate {of_towers:g}: the model reads text alone: leave the flag out"])
        towers = [name.removeprefix(within) for names in self.adapter.towers.values() for name in names]
        return dict.fromkeys((f"model.{name}." for name in towers), of_towers / learning_rate)

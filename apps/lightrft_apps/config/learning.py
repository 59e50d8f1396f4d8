"""What every command that trains a model is told, whatever the model learns from."""

from __future__ import annotations

from typing import Protocol

from lightrft_apps.config.sections import FolderArgs, LearningArgs, LoraArgs, ModelArgs, RanksArgs


class LearningConfig(Protocol):
    """The sections that RLConfig and SFTConfig have in common."""

    @property
    def model(self) -> ModelArgs: ...

    @property
    def lora(self) -> LoraArgs: ...

    @property
    def train(self) -> LearningArgs: ...

    @property
    def parallel(self) -> RanksArgs: ...

    @property
    def run(self) -> FolderArgs: ...

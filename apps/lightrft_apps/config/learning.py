"""What every command that trains a model is told, whatever the model learns from."""

from __future__ import annotations

from typing import Any, Protocol

from lightrft_apps.config.sections import (
    EvaluationArgs,
    FolderArgs,
    LearningArgs,
    LoraArgs,
    ModelArgs,
    RanksArgs,
    TrackingArgs,
    TuneArgs,
)


class LearningConfig(Protocol):
    """The sections that the configurations of all such commands have in common."""

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

    @property
    def tracking(self) -> TrackingArgs: ...

    def to_flat(self) -> dict[str, Any]: ...


class SupervisedConfig(LearningConfig, Protocol):
    """What a command is told whose model learns from examples that are there."""

    @property
    def train(self) -> TuneArgs: ...

    @property
    def evaluation(self) -> EvaluationArgs: ...

"""The configuration of a reinforcement fine-tuning run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from lightrft_apps.config.files import read_config_file, write_yaml, yaml_of
from lightrft_apps.config.flat import from_flat, from_given, to_flat
from lightrft_apps.config.sections import (
    AlgorithmArgs,
    CorrectionArgs,
    CriticArgs,
    DataArgs,
    DivergenceArgs,
    EngineArgs,
    EvalArgs,
    LoraArgs,
    ModelArgs,
    ParallelArgs,
    RewardArgs,
    RolloutArgs,
    RunArgs,
    ShapingArgs,
    TrainArgs,
)


@dataclass(frozen=True, kw_only=True)
class RLConfig:
    """Everything `lightrft rl` is told: nested here, flat on the command line, in YAML and in `create`."""

    model: ModelArgs
    data: DataArgs
    lora: LoraArgs = field(default_factory=LoraArgs)
    rollout: RolloutArgs = field(default_factory=RolloutArgs)
    engine: EngineArgs = field(default_factory=EngineArgs)
    train: TrainArgs = field(default_factory=TrainArgs)
    parallel: ParallelArgs = field(default_factory=ParallelArgs)
    algorithm: AlgorithmArgs = field(default_factory=AlgorithmArgs)
    divergence: DivergenceArgs = field(default_factory=DivergenceArgs)
    critic: CriticArgs = field(default_factory=CriticArgs)
    correction: CorrectionArgs = field(default_factory=CorrectionArgs)
    reward: RewardArgs = field(default_factory=RewardArgs)
    shaping: ShapingArgs = field(default_factory=ShapingArgs)
    evaluation: EvalArgs = field(default_factory=EvalArgs)
    run: RunArgs

    @classmethod
    def create(cls, **flat: Any) -> RLConfig:
        """From keywords named as the flags are: `RLConfig.create(pretrain=..., prompt_data=..., output_dir=...)`.

        Raises ConfigError for unknown names, values of another type and values that are needed and missing.
        """
        return from_flat(cls, flat)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> RLConfig:
        """From a dict as `to_flat` returns it; names left out have their defaults. Raises ConfigError as `create`."""
        return from_flat(cls, flat)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> RLConfig:
        """From a YAML file, such as a run's config.yaml. Raises ConfigError as `create`, naming the file."""
        return from_given(cls, read_config_file(cls, path))

    def to_flat(self) -> dict[str, Any]:
        """Every value by the name of its flag."""
        return to_flat(self)

    def save(self, path: str | PathLike[str], record: Mapping[str, Any]) -> None:
        """Write YAML that `--config` replays. record: code revision, package versions and the like, for people."""
        write_yaml(path, yaml_of(type(self), self.to_flat(), record))

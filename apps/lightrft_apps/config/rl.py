"""The configuration of a reinforcement fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightrft_apps.config.replayable import Replayable
from lightrft_apps.config.sections import (
    AlgorithmArgs,
    CorrectionArgs,
    CriticArgs,
    DataArgs,
    DivergenceArgs,
    EngineArgs,
    EvalArgs,
    JudgesArgs,
    LoraArgs,
    ModelArgs,
    ParallelArgs,
    RewardArgs,
    RolloutArgs,
    RunArgs,
    ShapingArgs,
    TrackingArgs,
    TrainArgs,
)


@dataclass(frozen=True, kw_only=True)
class RLConfig(Replayable):
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
    judges: JudgesArgs = field(default_factory=JudgesArgs)
    shaping: ShapingArgs = field(default_factory=ShapingArgs)
    evaluation: EvalArgs = field(default_factory=EvalArgs)
    run: RunArgs
    tracking: TrackingArgs = field(default_factory=TrackingArgs)

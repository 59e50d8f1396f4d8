"""The configuration of a run that trains a generative reward model."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightrft_apps.config.replayable import Replayable
from lightrft_apps.config.sections import (
    EvaluationArgs,
    FolderArgs,
    JudgeFormArgs,
    LoraArgs,
    ModelArgs,
    PreferenceArgs,
    RanksArgs,
    TrackingArgs,
    TuneArgs,
)


@dataclass(frozen=True, kw_only=True)
class GRMConfig(Replayable):
    """Everything `lightrft grm` is told: nested here, flat on the command line, in YAML and in `create`."""

    model: ModelArgs
    data: PreferenceArgs
    judge: JudgeFormArgs = field(default_factory=JudgeFormArgs)
    lora: LoraArgs = field(default_factory=LoraArgs)
    train: TuneArgs = field(default_factory=TuneArgs)
    parallel: RanksArgs = field(default_factory=RanksArgs)
    evaluation: EvaluationArgs = field(default_factory=EvaluationArgs)
    run: FolderArgs
    tracking: TrackingArgs = field(default_factory=TrackingArgs)

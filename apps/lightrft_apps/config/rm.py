"""The configuration of a run that trains a scalar reward model."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightrft_apps.config.checks.lora import names_in
from lightrft_apps.config.replayable import Replayable
from lightrft_apps.config.sections import (
    EvaluationArgs,
    FolderArgs,
    LoraArgs,
    ModelArgs,
    PreferenceArgs,
    RanksArgs,
    RewardModelArgs,
    TrackingArgs,
    TuneArgs,
)


@dataclass(frozen=True, kw_only=True)
class RMConfig(Replayable):
    """Everything `lightrft srm` is told: nested here, flat on the command line, in YAML and in `create`."""

    model: ModelArgs
    data: PreferenceArgs
    scores: RewardModelArgs = field(default_factory=RewardModelArgs)
    lora: LoraArgs = field(default_factory=LoraArgs)
    train: TuneArgs = field(default_factory=TuneArgs)
    parallel: RanksArgs = field(default_factory=RanksArgs)
    evaluation: EvaluationArgs = field(default_factory=EvaluationArgs)
    run: FolderArgs
    tracking: TrackingArgs = field(default_factory=TrackingArgs)


def heads_of(scores: RewardModelArgs) -> tuple[str, ...]:
    """The names of the heads, in the order of the flag."""
    return names_in(scores.heads)

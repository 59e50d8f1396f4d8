"""The configuration of a supervised fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightrft_apps.config.replayable import Replayable
from lightrft_apps.config.sections import (
    ExamplesArgs,
    FolderArgs,
    HeldOutArgs,
    LoraArgs,
    ModelArgs,
    RanksArgs,
    TrackingArgs,
    TuneArgs,
)


@dataclass(frozen=True, kw_only=True)
class SFTConfig(Replayable):
    """Everything `lightrft sft` is told: nested here, flat on the command line, in YAML and in `create`."""

    model: ModelArgs
    data: ExamplesArgs
    lora: LoraArgs = field(default_factory=LoraArgs)
    train: TuneArgs = field(default_factory=TuneArgs)
    parallel: RanksArgs = field(default_factory=RanksArgs)
    evaluation: HeldOutArgs = field(default_factory=HeldOutArgs)
    run: FolderArgs
    tracking: TrackingArgs = field(default_factory=TrackingArgs)

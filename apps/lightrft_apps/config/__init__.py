"""What a run is told: typed, from YAML, flags or keywords, checked before any model loads."""

from lightrft_apps.config.batches import describe_batches
from lightrft_apps.config.checks import check, require_valid
from lightrft_apps.config.differences import differences, too_late
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.learning import LearningConfig
from lightrft_apps.config.parse import exit_on_config_error, parse
from lightrft_apps.config.profile_checks import beyond, profiled_steps
from lightrft_apps.config.reward_checks import rules_by_route
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.rl_command import parse_rl
from lightrft_apps.config.sampling_texts import engine_urls, stop_texts
from lightrft_apps.config.sections import (
    AlgorithmArgs,
    CorrectionArgs,
    CriticArgs,
    DataArgs,
    DivergenceArgs,
    EngineArgs,
    EvalArgs,
    ExamplesArgs,
    FolderArgs,
    HeldOutArgs,
    LearningArgs,
    LoraArgs,
    ModelArgs,
    ParallelArgs,
    RanksArgs,
    RewardArgs,
    RolloutArgs,
    RunArgs,
    SamplingArgs,
    ShapingArgs,
    TrainArgs,
    TuneArgs,
)
from lightrft_apps.config.sft import SFTConfig
from lightrft_apps.config.sft_checks import check_sft, require_valid_sft
from lightrft_apps.config.sft_command import parse_sft
from lightrft_apps.config.stored import COMMANDS, stored_config

__all__ = [
    "COMMANDS",
    "AlgorithmArgs",
    "ConfigError",
    "CorrectionArgs",
    "CriticArgs",
    "DataArgs",
    "DivergenceArgs",
    "EngineArgs",
    "EvalArgs",
    "ExamplesArgs",
    "FolderArgs",
    "HeldOutArgs",
    "LearningArgs",
    "LearningConfig",
    "LoraArgs",
    "ModelArgs",
    "ParallelArgs",
    "RLConfig",
    "RanksArgs",
    "RewardArgs",
    "RolloutArgs",
    "RunArgs",
    "SFTConfig",
    "SamplingArgs",
    "ShapingArgs",
    "TrainArgs",
    "TuneArgs",
    "beyond",
    "check",
    "check_sft",
    "describe_batches",
    "differences",
    "engine_urls",
    "exit_on_config_error",
    "parse",
    "parse_rl",
    "parse_sft",
    "profiled_steps",
    "require_valid",
    "require_valid_sft",
    "rules_by_route",
    "stop_texts",
    "stored_config",
    "too_late",
]

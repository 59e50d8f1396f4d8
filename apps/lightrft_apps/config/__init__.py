"""What a run is told: typed, from YAML, flags or keywords, checked before any model loads."""

from lightrft_apps.config.batches import describe_batches
from lightrft_apps.config.checks.grm import check_grm, require_valid_grm
from lightrft_apps.config.checks.preferences import shares_of
from lightrft_apps.config.checks.profile import beyond, profiled_steps
from lightrft_apps.config.checks.reward import judge_names, reward_models, rules_by_route
from lightrft_apps.config.checks.rl import check, require_valid
from lightrft_apps.config.checks.rm import check_rm, require_valid_rm
from lightrft_apps.config.checks.sft import check_sft, require_valid_sft
from lightrft_apps.config.checks.tracking import LIBRARIES, chosen_trackers
from lightrft_apps.config.commands.grm import parse_grm
from lightrft_apps.config.commands.rl import parse_rl
from lightrft_apps.config.commands.sft import parse_sft
from lightrft_apps.config.commands.srm import parse_srm
from lightrft_apps.config.differences import differences, too_late
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.grm import GRMConfig
from lightrft_apps.config.learning import LearningConfig, SupervisedConfig
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.rm import RMConfig, heads_of
from lightrft_apps.config.sampling_texts import engine_urls, stop_texts
from lightrft_apps.config.sections import (
    AlgorithmArgs,
    CorrectionArgs,
    CriticArgs,
    DataArgs,
    DivergenceArgs,
    EngineArgs,
    EvalArgs,
    EvaluationArgs,
    ExamplesArgs,
    FolderArgs,
    HeldOutArgs,
    JudgeFormArgs,
    JudgesArgs,
    LearningArgs,
    LoraArgs,
    ModelArgs,
    ParallelArgs,
    PreferenceArgs,
    RanksArgs,
    RewardArgs,
    RewardModelArgs,
    RolloutArgs,
    RunArgs,
    SamplingArgs,
    ShapingArgs,
    TrackingArgs,
    TrainArgs,
    TuneArgs,
)
from lightrft_apps.config.sft import SFTConfig
from lightrft_apps.config.stored import COMMANDS, RunConfig, stored_config

__all__ = [
    "COMMANDS",
    "LIBRARIES",
    "AlgorithmArgs",
    "ConfigError",
    "CorrectionArgs",
    "CriticArgs",
    "DataArgs",
    "DivergenceArgs",
    "EngineArgs",
    "EvalArgs",
    "EvaluationArgs",
    "ExamplesArgs",
    "FolderArgs",
    "GRMConfig",
    "HeldOutArgs",
    "JudgeFormArgs",
    "JudgesArgs",
    "LearningArgs",
    "LearningConfig",
    "LoraArgs",
    "ModelArgs",
    "ParallelArgs",
    "PreferenceArgs",
    "RLConfig",
    "RMConfig",
    "RanksArgs",
    "RewardArgs",
    "RewardModelArgs",
    "RolloutArgs",
    "RunArgs",
    "RunConfig",
    "SFTConfig",
    "SamplingArgs",
    "ShapingArgs",
    "SupervisedConfig",
    "TrackingArgs",
    "TrainArgs",
    "TuneArgs",
    "beyond",
    "check",
    "check_grm",
    "check_rm",
    "check_sft",
    "chosen_trackers",
    "describe_batches",
    "differences",
    "engine_urls",
    "exit_on_config_error",
    "heads_of",
    "judge_names",
    "parse",
    "parse_grm",
    "parse_rl",
    "parse_sft",
    "parse_srm",
    "profiled_steps",
    "require_valid",
    "require_valid_grm",
    "require_valid_rm",
    "require_valid_sft",
    "reward_models",
    "rules_by_route",
    "shares_of",
    "stop_texts",
    "stored_config",
    "too_late",
]

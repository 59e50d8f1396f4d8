"""The flags of a run, one dataclass per concern; the line under a field is its documentation everywhere."""

from lightrft_apps.config.sections.algorithm import AlgorithmArgs, CorrectionArgs, CriticArgs, DivergenceArgs
from lightrft_apps.config.sections.benchmarks import (
    BenchmarkArgs,
    ComparisonArgs,
    EvalDataArgs,
    EvalModelArgs,
    SearchArgs,
)
from lightrft_apps.config.sections.data import DataArgs
from lightrft_apps.config.sections.engine import EngineArgs
from lightrft_apps.config.sections.evaluation import EvalArgs, EvaluationArgs, HeldOutArgs
from lightrft_apps.config.sections.examples import ExamplesArgs
from lightrft_apps.config.sections.judge_form import JudgeFormArgs
from lightrft_apps.config.sections.judges import JudgesArgs
from lightrft_apps.config.sections.lora import LoraArgs
from lightrft_apps.config.sections.model import ModelArgs
from lightrft_apps.config.sections.parallel import ParallelArgs, RanksArgs
from lightrft_apps.config.sections.preferences import PreferenceArgs
from lightrft_apps.config.sections.reward import RewardArgs
from lightrft_apps.config.sections.reward_model import RewardModelArgs
from lightrft_apps.config.sections.rollout import RolloutArgs, SamplingArgs
from lightrft_apps.config.sections.run import FolderArgs, RunArgs
from lightrft_apps.config.sections.shaping import ShapingArgs
from lightrft_apps.config.sections.tracking import TrackingArgs
from lightrft_apps.config.sections.train import LearningArgs, TrainArgs, TuneArgs

__all__ = [
    "AlgorithmArgs",
    "BenchmarkArgs",
    "ComparisonArgs",
    "CorrectionArgs",
    "CriticArgs",
    "DataArgs",
    "DivergenceArgs",
    "EngineArgs",
    "EvalArgs",
    "EvalDataArgs",
    "EvalModelArgs",
    "EvaluationArgs",
    "ExamplesArgs",
    "FolderArgs",
    "HeldOutArgs",
    "JudgeFormArgs",
    "JudgesArgs",
    "LearningArgs",
    "LoraArgs",
    "ModelArgs",
    "ParallelArgs",
    "PreferenceArgs",
    "RanksArgs",
    "RewardArgs",
    "RewardModelArgs",
    "RolloutArgs",
    "RunArgs",
    "SamplingArgs",
    "SearchArgs",
    "ShapingArgs",
    "TrackingArgs",
    "TrainArgs",
    "TuneArgs",
]

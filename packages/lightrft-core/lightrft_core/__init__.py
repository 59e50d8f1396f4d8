"""The mathematics and the loop of LightRFT, in plain PyTorch."""

from lightrft_core.advantages import (
    ADVANTAGE_ESTIMATORS,
    AdvantageEstimator,
    batch_mean,
    gae,
    group_mean,
    group_norm,
    leave_one_out,
    returns_to_go,
    whiten,
)
from lightrft_core.aggregation import Aggregation, StepTotals, token_weight
from lightrft_core.algorithm import Algorithm
from lightrft_core.algorithms import ALGORITHMS
from lightrft_core.batching import Batch, TrainingSequence, collate, micro_batches
from lightrft_core.corrections import ICEPOP, TIS, Correction, CorrectionLevel, CorrectionMode
from lightrft_core.evaluation import Estimate, Evaluation, evaluate
from lightrft_core.experience import make_experience
from lightrft_core.filters import DynamicSampling, RolloutFilter
from lightrft_core.kl import KL_ESTIMATORS, AdaptiveKL, KLPlacement, drift, k1, k2, k3
from lightrft_core.logprobs import chosen_logprobs
from lightrft_core.metrics import Metrics
from lightrft_core.objectives import (
    OBJECTIVES,
    USUAL_BOUNDS,
    Bounds,
    Objective,
    cispo,
    cpgd,
    gmpo,
    gspo,
    gspo_token,
    policy_gradient,
    ppo_clip,
)
from lightrft_core.pace import Pace, Paces
from lightrft_core.partition import Cost
from lightrft_core.plan import BatchSizes
from lightrft_core.protocols import (
    CriticOutput,
    Engine,
    PolicyOutput,
    PromptSource,
    Ranks,
    Recorder,
    Reward,
    StepReport,
    Strategy,
)
from lightrft_core.ranks import OneRank, share
from lightrft_core.ratios import Tokens
from lightrft_core.rollout_metrics import correct, rollout_metrics
from lightrft_core.sampling import FirstToken, SamplingParams, answer_seed, uniforms
from lightrft_core.shaping import RewardShaping, RunningMoments, majority_vote, overlong_penalty, stop_properly
from lightrft_core.state import TrainState
from lightrft_core.supervised import Example, Likelihood, example_batches
from lightrft_core.trainer import Trainer
from lightrft_core.types import FinishReason, Group, Learnt, Media, Message, Prompt, Rollout, Verdict
from lightrft_core.updates import Schedule
from lightrft_core.vitals import TrainingDiverged, Vitals

__all__ = [
    "ADVANTAGE_ESTIMATORS",
    "ALGORITHMS",
    "ICEPOP",
    "KL_ESTIMATORS",
    "OBJECTIVES",
    "TIS",
    "USUAL_BOUNDS",
    "AdaptiveKL",
    "AdvantageEstimator",
    "Aggregation",
    "Algorithm",
    "Batch",
    "BatchSizes",
    "Bounds",
    "Correction",
    "CorrectionLevel",
    "CorrectionMode",
    "Cost",
    "CriticOutput",
    "DynamicSampling",
    "Engine",
    "Estimate",
    "Evaluation",
    "Example",
    "FinishReason",
    "FirstToken",
    "Group",
    "KLPlacement",
    "Learnt",
    "Likelihood",
    "Media",
    "Message",
    "Metrics",
    "Objective",
    "OneRank",
    "Pace",
    "Paces",
    "PolicyOutput",
    "Prompt",
    "PromptSource",
    "Ranks",
    "Recorder",
    "Reward",
    "RewardShaping",
    "Rollout",
    "RolloutFilter",
    "RunningMoments",
    "SamplingParams",
    "Schedule",
    "StepReport",
    "StepTotals",
    "Strategy",
    "Tokens",
    "TrainState",
    "Trainer",
    "TrainingDiverged",
    "TrainingSequence",
    "Verdict",
    "Vitals",
    "answer_seed",
    "batch_mean",
    "chosen_logprobs",
    "cispo",
    "collate",
    "correct",
    "cpgd",
    "drift",
    "evaluate",
    "example_batches",
    "gae",
    "gmpo",
    "group_mean",
    "group_norm",
    "gspo",
    "gspo_token",
    "k1",
    "k2",
    "k3",
    "leave_one_out",
    "majority_vote",
    "make_experience",
    "micro_batches",
    "overlong_penalty",
    "policy_gradient",
    "ppo_clip",
    "returns_to_go",
    "rollout_metrics",
    "share",
    "stop_properly",
    "token_weight",
    "uniforms",
    "whiten",
]

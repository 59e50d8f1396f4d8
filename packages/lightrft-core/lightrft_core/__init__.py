"""The mathematics and the loop of LightRFT, in plain PyTorch."""

from lightrft_core.advantages import group_norm
from lightrft_core.aggregation import Aggregation, StepTotals, token_weight
from lightrft_core.algorithms import ADVANTAGE_ESTIMATORS, ALGORITHMS, Algorithm
from lightrft_core.batching import Batch, TrainingSequence, collate, micro_batches
from lightrft_core.evaluation import Estimate, Evaluation, evaluate
from lightrft_core.kl import KL_ESTIMATORS, k1, k2, k3
from lightrft_core.logprobs import chosen_logprobs
from lightrft_core.metrics import Metrics
from lightrft_core.objectives import ppo_clip
from lightrft_core.plan import BatchSizes, estimate_advantages, optimiser_steps
from lightrft_core.protocols import Engine, PolicyOutput, PromptSource, Recorder, Reward, StepReport, Strategy
from lightrft_core.rollout_metrics import correct, rollout_metrics
from lightrft_core.sampling import SamplingParams, uniforms
from lightrft_core.shaping import stop_properly
from lightrft_core.state import TrainState
from lightrft_core.trainer import Trainer
from lightrft_core.types import FinishReason, Group, Message, Prompt, Rollout, Verdict
from lightrft_core.vitals import TrainingDiverged, Vitals

__all__ = [
    "ADVANTAGE_ESTIMATORS",
    "ALGORITHMS",
    "KL_ESTIMATORS",
    "Aggregation",
    "Algorithm",
    "Batch",
    "BatchSizes",
    "Engine",
    "Estimate",
    "Evaluation",
    "FinishReason",
    "Group",
    "Message",
    "Metrics",
    "PolicyOutput",
    "Prompt",
    "PromptSource",
    "Recorder",
    "Reward",
    "Rollout",
    "SamplingParams",
    "StepReport",
    "StepTotals",
    "Strategy",
    "TrainState",
    "Trainer",
    "TrainingDiverged",
    "TrainingSequence",
    "Verdict",
    "Vitals",
    "chosen_logprobs",
    "collate",
    "correct",
    "estimate_advantages",
    "evaluate",
    "group_norm",
    "k1",
    "k2",
    "k3",
    "micro_batches",
    "optimiser_steps",
    "ppo_clip",
    "rollout_metrics",
    "stop_properly",
    "token_weight",
    "uniforms",
]

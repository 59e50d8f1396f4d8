"""What is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AlgorithmArgs:
    """The algorithm (lightrft algorithms lists them; flags below override its pieces)"""

    algorithm: str = "grpo"
    """row of the table of algorithms"""
    advantage_estimator: str | None = None
    """advantage estimator, such as group_norm, rloo, reinforce, gae; default: the algorithm's own"""
    policy_loss_type: str | None = None
    """objective, such as ppo, gspo, gmpo, cpgd, cispo; default: the algorithm's own"""
    loss_agg_mode: Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant-length"] | None = None
    """how token losses become one number; default: the algorithm's own"""
    eps_clip: float | None = None
    """how far below 1 the probability ratio may fall, and above it may rise; default: as in the objective's paper"""
    eps_clip_low_high: tuple[float, float] | None = None
    """the same with two bounds, such as 0.2 0.28"""
    dual_clip: float | None = None
    """for negative advantages, bound the loss at this multiple of them, such as 3; default: no bound"""
    drift_coef: float | None = None
    """weight of the divergence from the policy that sampled (CPGD); default: the algorithm's own"""
    drift_bound: float | None = None
    """with drift_coef: bound on its gradient's factor r - 1; default: the algorithm's own"""
    entropy_coef: float | None = None
    """weight of the entropy bonus; default: the algorithm's own"""
    high_entropy_token_ratio: float | None = None
    """let only this share of tokens, the most uncertain ones, carry the policy loss; default: the algorithm's own"""
    gamma: float | None = None
    """discount of later token rewards; default: the algorithm's own"""
    lambd: float | None = None
    """decay of generalised advantage estimation; default: the algorithm's own"""
    advantages_norm: bool | None = None
    """normalise advantages over all tokens of the batch; default: the estimator's own"""
    advantage_clip: float | None = None
    """bound on the size of an advantage; 0: none; default: the algorithm's own"""


@dataclass(frozen=True)
class DivergenceArgs:
    """Divergence from a reference model or a teacher"""

    init_kl_coef: float | None = None
    """weight of the divergence from the reference model; 0 loads none; default: the algorithm's own"""
    use_kl_loss: bool | None = None
    """put the divergence into the loss, or into the reward; default: the algorithm's own"""
    kl_estimator: Literal["k1", "k2", "k3"] | None = None
    """estimator of that divergence; default: the algorithm's own"""
    kl_unbiased_gradient: bool | None = None
    """give a divergence in the loss the unbiased gradient, whatever its estimator; default: the algorithm's own"""
    kl_target: float | None = None
    """steer the coefficient towards this divergence, in nats per token"""
    kl_horizon: float | None = None
    """with kl_target: samples in which the coefficient may change by a fifth; default: 10000"""
    teacher_pretrain: str | None = None
    """a teacher with the same tokenizer: a folder, or a name on the Hugging Face hub"""
    teacher_kl_coef: float | None = None
    """weight of the reverse divergence from the teacher in the loss; default: the algorithm's own"""


@dataclass(frozen=True)
class CriticArgs:
    """The critic (algorithms with gae)"""

    critic_pretrain: str | None = None
    """model the critic starts from; default: the policy's"""
    critic_learning_rate: float = 9e-6
    """peak learning rate of the critic"""
    value_clip: float | None = None
    """how far a value may move from its old one in a step; default: the algorithm's own"""
    freezing_actor_steps: int = 0
    """rollout batches in which only the critic learns"""


@dataclass(frozen=True)
class CorrectionArgs:
    """Correction of the gap between sampler and trainer (it is always measured)"""

    enable_vllm_is_correction: bool = False
    """weigh tokens by trainer over sampler probability: truncated importance sampling"""
    use_icepop: bool = False
    """the same, but tokens whose weight is out of bounds teach nothing"""
    vllm_is_truncated_threshold: tuple[float, float] | None = None
    """bounds of the weights; default: 0 2, with use_icepop 0.5 5"""
    is_correction_level: Literal["token", "sequence", "geometric"] = "token"
    """a weight for each token, for each answer, or for each answer as its tokens' geometric mean"""

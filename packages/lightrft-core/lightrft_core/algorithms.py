"""The table of named algorithms, each a row of pieces with its paper's defaults.

Adding one is a row here, perhaps a function beside its pieces, and a conformance test. Nothing else knows its name.
"""

from __future__ import annotations

from dataclasses import replace

from lightrft_core.advantages import ADVANTAGE_ESTIMATORS
from lightrft_core.aggregation import Aggregation
from lightrft_core.algorithm import Algorithm
from lightrft_core.filters import DynamicSampling
from lightrft_core.kl import KLPlacement
from lightrft_core.objectives import (
    USUAL_BOUNDS,
    Bounds,
    cispo,
    cpgd,
    gmpo,
    gspo,
    gspo_token,
    policy_gradient,
    ppo_clip,
)
from lightrft_core.shaping import RewardShaping

_TOKEN_MEAN, _SEQ_MEAN = Aggregation.TOKEN_MEAN, Aggregation.SEQ_MEAN_TOKEN_MEAN
_SEQ_SUM, _CONSTANT = Aggregation.SEQ_MEAN_TOKEN_SUM, Aggregation.CONSTANT_LENGTH
_of = ADVANTAGE_ESTIMATORS

GRPO = Algorithm(
    title="Group Relative Policy Optimization",
    paper="2402.03300",
    equations="eq. 3, 4",
    estimator=_of["group_norm"],
    objective=ppo_clip,
    aggregation=_SEQ_MEAN,
    kl_coef=0.04,
)
DR_GRPO = Algorithm(
    title="GRPO Done Right",
    paper="2503.20783",
    equations="section 3.2",
    estimator=_of["dr_grpo"],
    objective=ppo_clip,
    aggregation=_CONSTANT,
)
DAPO = Algorithm(
    title="Decoupled Clip and Dynamic Sampling Policy Optimization",
    paper="2503.14476",
    equations="eq. 8-13",
    estimator=_of["group_norm"],
    objective=ppo_clip,
    aggregation=_TOKEN_MEAN,
    bounds=Bounds(0.2, 0.28),
    dynamic_sampling=DynamicSampling(),
    shaping=RewardShaping(overlong_share=0.2),
)
HIGH_ENTROPY = replace(
    DAPO,
    title="Beyond the 80/20 Rule: DAPO on high-entropy tokens",
    paper="2506.01939",
    equations="eq. 5",
    high_entropy_share=0.2,
)
GSPO = Algorithm(
    title="Group Sequence Policy Optimization",
    paper="2507.18071",
    equations="eq. 5-7",
    estimator=_of["group_norm"],
    objective=gspo,
    aggregation=_SEQ_MEAN,
    bounds=USUAL_BOUNDS["gspo"],
)
GSPO_TOKEN = replace(GSPO, title="GSPO with an advantage for each token", equations="eq. 13, 14", objective=gspo_token)
GMPO = Algorithm(
    title="Geometric-Mean Policy Optimization",
    paper="2507.20673",
    equations="eq. 4",
    estimator=_of["group_norm"],
    objective=gmpo,
    aggregation=_SEQ_MEAN,
    bounds=USUAL_BOUNDS["gmpo"],
)
CPGD = Algorithm(
    title="Clipped Policy Gradient Optimization with Policy Drift",
    paper="2505.12504",
    equations="section 3",
    estimator=_of["cpgd"],
    objective=cpgd,
    aggregation=_TOKEN_MEAN,
    drift_coef=0.01,
)
CISPO = Algorithm(
    title="Clipped IS-weight Policy Optimization (MiniMax-M1)",
    paper="2506.13585",
    equations="eq. 4, 5",
    estimator=_of["group_norm"],
    objective=cispo,
    aggregation=_TOKEN_MEAN,
    bounds=USUAL_BOUNDS["cispo"],
)
REINFORCE = Algorithm(
    title="REINFORCE",
    paper="Williams 1992",
    equations="eq. 11",
    estimator=_of["return"],
    objective=policy_gradient,
    aggregation=_SEQ_SUM,
)
BATCH_MEAN = replace(REINFORCE, title="REINFORCE with the batch's mean as baseline", estimator=_of["batch_mean"])
REINFORCE_PP = Algorithm(
    title="REINFORCE++",
    paper="2501.03262",
    equations="section 3.1",
    estimator=_of["reinforce"],
    objective=ppo_clip,
    aggregation=_TOKEN_MEAN,
    kl_coef=0.01,
    kl_estimator="k1",
    kl_placement=KLPlacement.REWARD,
)
REINFORCE_PP_BASELINE = Algorithm(
    title="REINFORCE++ with the group's mean as baseline",
    paper="2501.03262",
    equations="section 3.2",
    estimator=_of["reinforce_baseline"],
    objective=ppo_clip,
    aggregation=_TOKEN_MEAN,
    kl_coef=0.01,
    kl_estimator="k2",
)
RLOO = Algorithm(
    title="REINFORCE Leave-One-Out",
    paper="2402.14740",
    equations="eq. 7",
    estimator=_of["rloo"],
    objective=policy_gradient,
    aggregation=_SEQ_SUM,
    kl_coef=0.03,
    kl_estimator="k1",
    kl_placement=KLPlacement.SEQUENCE_REWARD,
)
PPO = Algorithm(
    title="Proximal Policy Optimization with a critic",
    paper="1707.06347",
    equations="eq. 7, 9; GAE: 1506.02438, eq. 16",
    estimator=_of["gae"],
    objective=ppo_clip,
    aggregation=_TOKEN_MEAN,
    kl_coef=0.01,
    kl_estimator="k1",
    kl_placement=KLPlacement.REWARD,
)

ALGORITHMS: dict[str, Algorithm] = {
    "grpo": GRPO,
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "high_entropy": HIGH_ENTROPY,
    "gspo": GSPO,
    "gspo_token": GSPO_TOKEN,
    "gmpo": GMPO,
    "cpgd": CPGD,
    "cispo": CISPO,
    "reinforce": REINFORCE,
    "batch_mean": BATCH_MEAN,
    "reinforce_pp": REINFORCE_PP,
    "reinforce_pp_baseline": REINFORCE_PP_BASELINE,
    "rloo": RLOO,
    "ppo": PPO,
}
"""By the name --algorithm gives them."""

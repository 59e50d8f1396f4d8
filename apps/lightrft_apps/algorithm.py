"""From flags to the algorithm: a row of the table, with what the flags change about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightrft_apps.config import RLConfig
from lightrft_core import (
    ADVANTAGE_ESTIMATORS,
    ALGORITHMS,
    ICEPOP,
    OBJECTIVES,
    TIS,
    AdaptiveKL,
    Aggregation,
    Algorithm,
    Correction,
    CorrectionLevel,
    DynamicSampling,
    KLPlacement,
    RewardShaping,
    RolloutFilter,
)


def build_algorithm(config: RLConfig) -> Algorithm:
    """The run's algorithm; a flag that is not given leaves its piece as the row has it."""
    row, args = ALGORITHMS[config.algorithm.algorithm], config.algorithm
    estimator = ADVANTAGE_ESTIMATORS[args.advantage_estimator] if args.advantage_estimator else row.estimator
    if args.advantages_norm is not None:
        estimator = replace(estimator, whiten=args.advantages_norm)
    low, high = args.eps_clip_low_high or (args.eps_clip, args.eps_clip)
    given: dict[str, Any] = {
        "objective": OBJECTIVES[args.policy_loss_type] if args.policy_loss_type else None,
        "aggregation": Aggregation(args.loss_agg_mode) if args.loss_agg_mode else None,
        "clip_low": low,
        "clip_high": high,
        "dual_clip": args.dual_clip,
        "drift_coef": args.drift_coef,
        "high_entropy_share": args.high_entropy_token_ratio,
        "gamma": args.gamma,
        "lambd": args.lambd,
        "value_clip": config.critic.value_clip,
        "kl_coef": config.divergence.init_kl_coef,
        "kl_estimator": config.divergence.kl_estimator,
    }
    return replace(
        row,
        **{name: value for name, value in given.items() if value is not None},
        estimator=estimator,
        kl_placement=_placement(row, config.divergence.use_kl_loss),
        kl_unbiased=config.divergence.kl_unbiased_gradient,
        adaptive_kl=_adaptive(config),
        teacher_kl_coef=config.divergence.teacher_kl_coef,
        entropy_coef=args.entropy_coef,
        advantage_clip=args.advantage_clip,
        correction=_correction(config),
        dynamic_sampling=_dynamic_sampling(config, row),
        chosen=RolloutFilter(config.shaping.overlong_filtering, config.shaping.keep_best),
    )


def build_shaping(config: RLConfig) -> RewardShaping:
    """What happens to rewards between the judge and the advantage."""
    args, row = config.shaping, ALGORITHMS[config.algorithm.algorithm]
    wanted = args.overlong_buffer
    if wanted is None:
        wanted = row.overlong_share > 0 or args.overlong_buffer_len is not None
    share = row.overlong_share or 0.2
    buffer = args.overlong_buffer_len or max(1, round(share * config.rollout.generate_max_len))
    return RewardShaping(
        truncated_coefficient=args.stop_properly_penalty_coef,
        overlong_buffer=buffer if wanted else 0,
        overlong_factor=args.overlong_buffer_penalty_factor or 1.0,
        length_coefficient=args.length_reward_coef,
        clip=(-args.reward_clip, args.reward_clip) if args.reward_clip else None,
        running_norm=args.reward_running_norm,
        running_mean=args.reward_running_norm_minus_mean,
    )


def _placement(row: Algorithm, in_loss: bool | None) -> KLPlacement:
    if in_loss is None or in_loss == (row.kl_placement is KLPlacement.LOSS):
        return row.kl_placement
    return KLPlacement.LOSS if in_loss else KLPlacement.REWARD


def _adaptive(config: RLConfig) -> AdaptiveKL | None:
    args = config.divergence
    if args.kl_target is None:
        return None
    return AdaptiveKL(args.kl_target) if args.kl_horizon is None else AdaptiveKL(args.kl_target, args.kl_horizon)


def _correction(config: RLConfig) -> Correction | None:
    args = config.correction
    if not (args.enable_vllm_is_correction or args.use_icepop):
        return None
    base = ICEPOP if args.use_icepop else TIS
    low, high = args.vllm_is_truncated_threshold or (base.low, base.high)
    return replace(base, level=CorrectionLevel(args.is_correction_level), low=low, high=high)


def _dynamic_sampling(config: RLConfig, row: Algorithm) -> DynamicSampling | None:
    args = config.shaping
    wanted = row.dynamic_sampling is not None if args.dynamic_sampling is None else args.dynamic_sampling
    low, high = args.dynamic_filtering_reward_range or (0.0, 1.0)
    return DynamicSampling(low, high, args.dynamic_sampling_max_rounds or 10) if wanted else None

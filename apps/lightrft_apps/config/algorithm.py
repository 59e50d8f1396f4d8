"""From flags to the algorithm: a row of the table, with what the flags change about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightrft_apps.config.known_algorithms import find_algorithm
from lightrft_apps.config.rl import RLConfig
from lightrft_core import (
    ADVANTAGE_ESTIMATORS,
    ICEPOP,
    OBJECTIVES,
    TIS,
    USUAL_BOUNDS,
    AdaptiveKL,
    Aggregation,
    Algorithm,
    Bounds,
    Correction,
    CorrectionLevel,
    DynamicSampling,
    KLPlacement,
    Objective,
    RewardShaping,
    RolloutFilter,
)

USUAL_OVERLONG_SHARE = 0.2
"""Of the generation budget, as in DAPO's experiments: 4096 of 20480 tokens."""


def build_algorithm(config: RLConfig) -> Algorithm:
    """The run's algorithm; a flag that is not given leaves its piece as the row has it.

    Another objective than the row's brings the bounds of its paper, and a divergence that moves between reward and loss
    the estimator that fits there: k1 in a reward, k2 in a loss.
    """
    row, args, divergence = find_algorithm(config.algorithm.algorithm), config.algorithm, config.divergence
    estimator = ADVANTAGE_ESTIMATORS[args.advantage_estimator] if args.advantage_estimator else row.estimator
    if args.advantages_norm is not None:
        estimator = replace(estimator, whiten=args.advantages_norm)
    objective = OBJECTIVES[args.policy_loss_type] if args.policy_loss_type else row.objective
    placement = _placement(row, divergence.use_kl_loss)
    moved = (placement is KLPlacement.LOSS) != (row.kl_placement is KLPlacement.LOSS)
    fitting = ("k2" if placement is KLPlacement.LOSS else "k1") if moved else None
    given: dict[str, Any] = {
        "aggregation": Aggregation(args.loss_agg_mode) if args.loss_agg_mode else None,
        "drift_coef": args.drift_coef,
        "drift_bound": args.drift_bound,
        "entropy_coef": args.entropy_coef,
        "aux_loss_coef": config.train.aux_loss_coef,
        "high_entropy_share": args.high_entropy_token_ratio,
        "gamma": args.gamma,
        "lambd": args.lambd,
        "advantage_clip": args.advantage_clip,
        "value_clip": config.critic.value_clip,
        "kl_coef": divergence.init_kl_coef,
        "kl_estimator": divergence.kl_estimator or fitting,
        "kl_unbiased": divergence.kl_unbiased_gradient,
        "adaptive_kl": _adaptive(config),
        "teacher_kl_coef": divergence.teacher_kl_coef,
        "correction": _correction(config, row),
    }
    return replace(
        row,
        **{name: value for name, value in given.items() if value is not None},
        estimator=estimator,
        objective=objective,
        bounds=_bounds(config, row, objective),
        kl_placement=placement,
        dynamic_sampling=_dynamic_sampling(config, row),
        chosen=_chosen(config, row),
        shaping=_shaping(config, row),
    )


def _bounds(config: RLConfig, row: Algorithm, objective: Objective) -> Bounds:
    args, base = config.algorithm, row.bounds
    if objective is not row.objective:
        base = USUAL_BOUNDS.get(args.policy_loss_type or "", base)
    low, high = args.eps_clip_low_high or (args.eps_clip or base.low, args.eps_clip or base.high)
    return Bounds(low, high, args.dual_clip or base.dual)


def _placement(row: Algorithm, in_loss: bool | None) -> KLPlacement:
    if in_loss is None or in_loss == (row.kl_placement is KLPlacement.LOSS):
        return row.kl_placement
    return KLPlacement.LOSS if in_loss else KLPlacement.REWARD


def _adaptive(config: RLConfig) -> AdaptiveKL | None:
    args = config.divergence
    if args.kl_target is None:
        return None
    return AdaptiveKL(args.kl_target) if args.kl_horizon is None else AdaptiveKL(args.kl_target, args.kl_horizon)


def _correction(config: RLConfig, row: Algorithm) -> Correction | None:
    """What the flags ask for; answers of 8 bits, which leave a gap for sure, are corrected unless the row does it."""
    args = config.correction
    brought = config.engine.fp8_rollout and row.correction is None
    if not (args.enable_vllm_is_correction or args.use_icepop or brought):
        return None
    base = ICEPOP if args.use_icepop else TIS
    low, high = args.vllm_is_truncated_threshold or (base.low, base.high)
    return replace(base, level=CorrectionLevel(args.is_correction_level), low=low, high=high)


def _dynamic_sampling(config: RLConfig, row: Algorithm) -> DynamicSampling | None:
    args, own = config.shaping, row.dynamic_sampling
    wanted = own is not None if args.dynamic_sampling is None else args.dynamic_sampling
    if not wanted:
        return None
    base = own or DynamicSampling()
    low, high = args.dynamic_filtering_reward_range or (base.low, base.high)
    return DynamicSampling(low, high, args.dynamic_sampling_max_rounds or base.max_rounds)


def _chosen(config: RLConfig, row: Algorithm) -> RolloutFilter:
    args = config.shaping
    masked = row.chosen.mask_truncated if args.overlong_filtering is None else args.overlong_filtering
    return RolloutFilter(masked, row.chosen.keep_best if args.keep_best is None else args.keep_best)


def _shaping(config: RLConfig, row: Algorithm) -> RewardShaping:
    args, own = config.shaping, row.shaping
    wanted = args.overlong_buffer
    if wanted is None:
        wanted = own.overlong_share > 0 or own.overlong_buffer > 0 or args.overlong_buffer_len is not None
    buffer = args.overlong_buffer_len or own.overlong_buffer
    return replace(
        own,
        truncated_coefficient=args.stop_properly_penalty_coef,
        overlong_buffer=buffer if wanted else 0,
        overlong_share=(own.overlong_share or (0.0 if buffer else USUAL_OVERLONG_SHARE)) if wanted else 0.0,
        overlong_factor=args.overlong_buffer_penalty_factor or own.overlong_factor,
        length_coefficient=args.length_reward_coef or own.length_coefficient,
        clip=(-args.reward_clip, args.reward_clip) if args.reward_clip else own.clip,
        running_norm=args.reward_running_norm or own.running_norm,
        running_mean=args.reward_running_norm_minus_mean or own.running_mean,
    )

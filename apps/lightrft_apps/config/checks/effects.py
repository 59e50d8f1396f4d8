"""Flags that are given but could have no effect beside the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.schema import fields_of, turned_off
from lightrft_apps.config.rl import RLConfig

Condition: TypeAlias = tuple[tuple[str, ...], bool, str]
"""(flags, whether they are in effect, what would bring them into effect)."""


def flags_without_effect(config: RLConfig) -> Iterator[str]:
    """What to change so that each flag of the algorithm does something. The algorithm and its pieces must exist."""
    yield from without_effect(config, _conditions(config))


def without_effect(config: object, conditions: Iterable[Condition]) -> Iterator[str]:
    """What to change so that each flag that is given does something: a flag is, if its value is not the default."""
    flat, fields = to_flat(config), fields_of(type(config))
    for names, active, remedy in conditions:
        for name in names:
            if not active and flat[name] != fields[name].default:
                flag = turned_off(name) if fields[name].default is True else name
                yield f"--{flag} has no effect: {remedy}, or leave --{flag} out"


def _conditions(config: RLConfig) -> Iterator[Condition]:
    from lightrft_apps.config.algorithm import build_algorithm
    from lightrft_core import gspo, gspo_token, policy_gradient, ppo_clip

    algorithm = build_algorithm(config)
    shaping = algorithm.shaping
    bounded = algorithm.objective is not policy_gradient
    dual = algorithm.objective in (ppo_clip, gspo, gspo_token)
    compared = algorithm.estimator.within_group or (algorithm.estimator.whiten and not algorithm.estimator.critic)
    divergence = ("use_kl_loss", "kl_estimator", "kl_target", "kl_unbiased_gradient")
    critic = ("critic_pretrain", "critic_learning_rate", "value_clip", "freezing_actor_steps", "lambd")
    yield divergence, algorithm.kl_coef != 0, "set --init_kl_coef above 0"
    yield ("kl_unbiased_gradient",), algorithm.kl_estimator != "k2", "k2 has that gradient: set another --kl_estimator"
    yield ("drift_bound",), algorithm.drift_coef > 0, "set --drift_coef above 0"
    yield ("kl_horizon",), algorithm.adaptive_kl is not None, "set --kl_target"
    yield ("teacher_kl_coef",), config.divergence.teacher_pretrain is not None, "set --teacher_pretrain"
    yield ("teacher_pretrain",), algorithm.teacher_kl_coef != 0, "set --teacher_kl_coef above 0"
    yield critic, algorithm.estimator.critic, "set --algorithm ppo or --advantage_estimator gae"
    yield (
        ("vllm_is_truncated_threshold", "is_correction_level"),
        algorithm.correction is not None,
        "set --enable_vllm_is_correction or --use_icepop",
    )
    yield ("eps_clip", "eps_clip_low_high"), bounded, "set --policy_loss_type to an objective with a clip, such as ppo"
    yield ("dual_clip",), dual, "set --policy_loss_type ppo or gspo"
    yield ("first_token_temperature", "first_token_top_k"), config.rollout.use_fire, "set --use_fire"
    overlong = ("overlong_buffer_len", "overlong_buffer_penalty_factor")
    yield overlong, bool(shaping.overlong_buffer or shaping.overlong_share), "set --overlong_buffer"
    yield ("save_media",), config.run.save_trajectories, "set --save_trajectories"
    dynamic = ("dynamic_filtering_reward_range", "dynamic_sampling_max_rounds")
    yield dynamic, algorithm.dynamic_sampling is not None, "set --dynamic_sampling"
    yield ("reward_running_norm_minus_mean",), shaping.running_norm, "set --reward_running_norm"
    yield (
        ("reward_running_norm_minus_mean",),
        not (shaping.running_norm and compared),
        "the advantage estimator takes a mean off itself: set another --advantage_estimator",
    )

"""Whether the algorithm's pieces exist, fit together, and all have an effect."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from lightrft_apps.config.checks.effects import flags_without_effect
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.rl import RLConfig

if TYPE_CHECKING:
    from lightrft_core import Algorithm


def algorithm_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that choose the algorithm and its pieces."""
    # Imports torch, which --help does not need.
    from lightrft_apps.config.known_algorithms import algorithm_names, find_algorithm
    from lightrft_core import ADVANTAGE_ESTIMATORS, OBJECTIVES

    args = config.algorithm
    names: list[tuple[str, str | None, Collection[str]]] = [
        ("algorithm", args.algorithm, algorithm_names()),
        ("advantage_estimator", args.advantage_estimator, ADVANTAGE_ESTIMATORS),
        ("policy_loss_type", args.policy_loss_type, OBJECTIVES),
    ]
    unknown = [entry for entry in names if entry[1] is not None and entry[1] not in entry[2]]
    for flag, name, known in unknown:
        yield f"--{flag} {name}: set it to one of {', '.join(known)}"
    ranges = list(_range_problems(config))
    yield from ranges
    if unknown or ranges:
        return
    from lightrft_apps.config.algorithm import build_algorithm

    try:
        find_algorithm(args.algorithm)
    except ConfigError as error:
        yield from error.problems
        return
    algorithm = build_algorithm(config)
    yield from _group_problems(config, algorithm)
    yield from _clip_problems(config, algorithm)
    yield from _divergence_problems(config, algorithm)
    yield from _correction_problems(config, algorithm)
    yield from flags_without_effect(config)


def _range_problems(config: RLConfig) -> Iterator[str]:
    ranges = {
        "dynamic_filtering_reward_range": config.shaping.dynamic_filtering_reward_range,
        "vllm_is_truncated_threshold": config.correction.vllm_is_truncated_threshold,
    }
    for flag, value in ranges.items():
        if value is not None and value[0] >= value[1]:
            yield f"--{flag} {value[0]:g} {value[1]:g}: the first number must be below the second"


def _group_problems(config: RLConfig, algorithm: Algorithm) -> Iterator[str]:
    if config.rollout.n_samples_per_prompt > 1:
        return
    why = None
    if algorithm.estimator.within_group:
        why = f"{config.algorithm.advantage_estimator or config.algorithm.algorithm}: a group of one has no signal"
    elif algorithm.dynamic_sampling is not None:
        why = "--dynamic_sampling: a group of one has no signal, and none would be kept"
    elif config.shaping.length_reward_coef:
        why = "--length_reward_coef, which compares a prompt's answers"
    if why is not None:
        yield f"--n_samples_per_prompt 1 with {why}: set --n_samples_per_prompt to 2 or more"


def _clip_problems(config: RLConfig, algorithm: Algorithm) -> Iterator[str]:
    from lightrft_core import cpgd

    if config.algorithm.eps_clip is not None and config.algorithm.eps_clip_low_high is not None:
        yield "--eps_clip and --eps_clip_low_high are both given: leave out --eps_clip"
    if algorithm.objective is cpgd and algorithm.bounds.low >= 1:
        yield (
            f"a lower bound of {algorithm.bounds.low:g} with cpgd, which takes the logarithm of 1 less it: "
            "set it below 1, such as --eps_clip 0.2"
        )


def _divergence_problems(config: RLConfig, algorithm: Algorithm) -> Iterator[str]:
    from lightrft_core import KLPlacement

    in_loss = algorithm.kl_placement is KLPlacement.LOSS
    if algorithm.kl_coef and in_loss and algorithm.kl_estimator == "k1" and not algorithm.kl_unbiased:
        yield "k1 in the loss has a gradient of zero mean: set --kl_estimator k2, or --use_kl_loss false"
    if algorithm.kl_coef and algorithm.kl_unbiased and not in_loss:
        yield "--kl_unbiased_gradient with the divergence in the reward, which has no gradient: set --use_kl_loss true"
    left_out = "keep_best" if algorithm.chosen.keep_best else "overlong_filtering"
    some_left_out = algorithm.chosen.keep_best or algorithm.chosen.mask_truncated
    if algorithm.kl_coef and algorithm.kl_placement is KLPlacement.SEQUENCE_REWARD and some_left_out:
        yield (
            f"--{left_out} with {config.algorithm.algorithm}, whose baseline needs the divergence of every answer: "
            "leave it out, or set --init_kl_coef 0 or --use_kl_loss true"
        )


def _correction_problems(config: RLConfig, algorithm: Algorithm) -> Iterator[str]:
    from lightrft_core import CorrectionLevel, gmpo, gspo

    args = config.correction
    if args.enable_vllm_is_correction and args.use_icepop:
        yield "--enable_vllm_is_correction and --use_icepop are two corrections: leave one of them out"
    if algorithm.objective not in (gspo, gmpo):
        return
    for_answers = "the objective is one number for a whole answer, so no token can be weighed by itself"
    if algorithm.correction is not None and algorithm.correction.level is CorrectionLevel.TOKEN:
        brought = "" if args.enable_vllm_is_correction or args.use_icepop else ", which --fp8_rollout brings"
        yield f"a correction of tokens{brought}: {for_answers}: set --is_correction_level to geometric or sequence"
    if algorithm.high_entropy_share < 1:
        yield f"--high_entropy_token_ratio: {for_answers}: set --policy_loss_type to gspo_token or ppo"

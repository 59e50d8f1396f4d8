"""Whether the algorithm's pieces exist, fit together, and all have an effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lightrft_apps.config.effects import flags_without_effect
from lightrft_apps.config.rl import RLConfig

if TYPE_CHECKING:
    from lightrft_core import AdvantageEstimator, Algorithm


def algorithm_problems(config: RLConfig) -> Iterator[str]:
    """What to change about the flags that choose the algorithm and its pieces."""
    from lightrft_core import ADVANTAGE_ESTIMATORS, ALGORITHMS, OBJECTIVES  # imports torch, which --help does not need

    args = config.algorithm
    names: list[tuple[str, str | None, Mapping[str, Any]]] = [
        ("algorithm", args.algorithm, ALGORITHMS),
        ("advantage_estimator", args.advantage_estimator, ADVANTAGE_ESTIMATORS),
        ("policy_loss_type", args.policy_loss_type, OBJECTIVES),
    ]
    unknown = [(flag, name, known) for flag, name, known in names if name is not None and name not in known]
    for flag, name, known in unknown:
        yield f"--{flag} {name}: set it to one of {', '.join(known)}"
    if unknown:
        return
    row = ALGORITHMS[args.algorithm]
    estimator = ADVANTAGE_ESTIMATORS[args.advantage_estimator] if args.advantage_estimator else row.estimator
    yield from _group_problems(config, estimator)
    yield from _clip_problems(config, OBJECTIVES[args.policy_loss_type] if args.policy_loss_type else row.objective)
    yield from _divergence_problems(config, row)
    yield from _rollout_problems(config, row)
    yield from _correction_problems(config)
    yield from flags_without_effect(config)


def _group_problems(config: RLConfig, estimator: AdvantageEstimator) -> Iterator[str]:
    if estimator.within_group and config.rollout.n_samples_per_prompt == 1:
        yield (
            f"--n_samples_per_prompt 1 with {config.algorithm.advantage_estimator or config.algorithm.algorithm}: "
            "a group of one has no signal: set --n_samples_per_prompt to 2 or more"
        )


def _clip_problems(config: RLConfig, objective: object) -> Iterator[str]:
    from lightrft_core import cpgd

    args = config.algorithm
    if args.eps_clip is not None and args.eps_clip_low_high is not None:
        yield "--eps_clip and --eps_clip_low_high are both given: leave out --eps_clip"
    low = args.eps_clip_low_high[0] if args.eps_clip_low_high else args.eps_clip
    if objective is cpgd and low is not None and low >= 1:
        yield f"a lower bound of {low:g} with cpgd, which takes its logarithm: set it below 1, such as --eps_clip 0.2"


def _divergence_problems(config: RLConfig, row: Algorithm) -> Iterator[str]:
    from lightrft_core import KLPlacement

    args = config.divergence
    coefficient = row.kl_coef if args.init_kl_coef is None else args.init_kl_coef
    in_loss = row.kl_placement is KLPlacement.LOSS if args.use_kl_loss is None else args.use_kl_loss
    if coefficient and in_loss and (args.kl_estimator or row.kl_estimator) == "k1" and not args.kl_unbiased_gradient:
        yield "k1 in the loss has a gradient of zero mean: set --kl_estimator k2, or --use_kl_loss false"
    elif coefficient and args.kl_unbiased_gradient and not in_loss:
        yield "--kl_unbiased_gradient with the divergence in the reward, which has no gradient: set --use_kl_loss true"


def _rollout_problems(config: RLConfig, row: Algorithm) -> Iterator[str]:
    from lightrft_core import KLPlacement

    args, samples = config.divergence, config.rollout.rollout_batch_size * config.rollout.n_samples_per_prompt
    horizon = 10000.0 if args.kl_horizon is None else args.kl_horizon
    if args.kl_target is not None and horizon < samples:
        yield f"--kl_horizon {horizon:g} is less than a step's {samples} samples: set it to {10 * samples}"
    left_out = "keep_best" if config.shaping.keep_best else "overlong_filtering"
    in_whole_answers = row.kl_placement is KLPlacement.SEQUENCE_REWARD and not args.use_kl_loss
    wanted = row.kl_coef if args.init_kl_coef is None else args.init_kl_coef
    if in_whole_answers and wanted and (config.shaping.keep_best or config.shaping.overlong_filtering):
        yield (
            f"--{left_out} with {config.algorithm.algorithm}, whose baseline needs the divergence of every answer: "
            f"leave it out, or set --init_kl_coef 0 or --use_kl_loss true"
        )


def _correction_problems(config: RLConfig) -> Iterator[str]:
    args = config.correction
    if args.enable_vllm_is_correction and args.use_icepop:
        yield "--enable_vllm_is_correction and --use_icepop are two corrections: leave one of them out"
    low, high = args.vllm_is_truncated_threshold or (0.0, 1.0)
    if low >= high:
        yield f"--vllm_is_truncated_threshold {low:g} {high:g}: the first number must be below the second"

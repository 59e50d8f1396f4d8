"""Rules across flags, checked before any model loads. Each complaint says which flag to change to what."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.algorithm import algorithm_problems
from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import out_of_bounds
from lightrft_apps.config.checks.compile import compile_problems
from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.engine import engine_problems
from lightrft_apps.config.checks.lora import lora_problems, model_problems
from lightrft_apps.config.checks.parallel import parallel_problems
from lightrft_apps.config.checks.places import unusable_folder
from lightrft_apps.config.checks.precision import precision_problems
from lightrft_apps.config.checks.profile import profile_problems
from lightrft_apps.config.checks.prompts import prompt_problems
from lightrft_apps.config.checks.reward import reward_problems
from lightrft_apps.config.checks.shaping import shaping_problems
from lightrft_apps.config.checks.tracking import tracking_problems
from lightrft_apps.config.checks.weights import weight_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.rl import RLConfig

OF_THE_EVALUATION = (
    "eval_split",
    "eval_max_samples",
    "eval_temperature",
    "eval_n_samples_per_prompt",
    "eval_generate_max_len",
)


def require_valid(config: RLConfig) -> None:
    """Raise ConfigError with everything `check` finds."""
    problems = check(config)
    if problems:
        raise ConfigError(problems)


def check(config: RLConfig) -> list[str]:
    """Everything that would stop or spoil the run, a line each; empty if there is nothing."""
    return [
        *reward_problems(config.reward, config.judges),
        *shaping_problems(config),
        *out_of_bounds(config.to_flat()),
        *algorithm_problems(config),
        *engine_problems(config),
        *parallel_problems(config),
        *compile_problems(config),
        *precision_problems(config.model, config.parallel.zero_stage),
        *attention_problems(config.model, packing=config.train.packing_samples),
        *weight_problems(config),
        *_batches(config),
        *_evaluation(config),
        *model_problems(config),
        *lora_problems(config),
        *prompt_problems(config.data, config.evaluation.eval_dataset),
        *unusable_folder(config.run.output_dir),
        *profile_problems(config),
        *tracking_problems(config),
    ]


def _batches(config: RLConfig) -> Iterator[str]:
    prompts, samples = config.rollout.rollout_batch_size, config.rollout.n_samples_per_prompt
    size = config.train.train_batch_size
    if size is not None and size > prompts * samples > 0:
        yield (
            f"--train_batch_size {size}: a step has only {prompts} prompts x {samples} samples = {prompts * samples} "
            f"rollouts; set it to {prompts * samples} or less, or raise --rollout_batch_size"
        )


def _evaluation(config: RLConfig) -> Iterator[str]:
    evaluation, least = config.evaluation, config.rollout.generate_min_len
    if evaluation.eval_n_samples_per_prompt > 1 and evaluation.eval_temperature == 0:
        yield (
            f"--eval_n_samples_per_prompt {evaluation.eval_n_samples_per_prompt} at --eval_temperature 0: "
            "all samples would be equal: set --eval_temperature above 0, such as 1.0, or "
            "--eval_n_samples_per_prompt to 1"
        )
    if evaluation.eval_generate_max_len is not None and evaluation.eval_generate_max_len < least:
        yield (
            f"--eval_generate_max_len {evaluation.eval_generate_max_len}: an answer has --generate_min_len {least} "
            f"tokens or more; set it to {least} or more"
        )
    yield from without_effect(config, [(OF_THE_EVALUATION, evaluation.eval_dataset is not None, "set --eval_dataset")])
    if evaluation.eval_steps > 0 and evaluation.eval_dataset is None:
        yield f"--eval_steps {evaluation.eval_steps}: there is nothing to evaluate on; set --eval_dataset"

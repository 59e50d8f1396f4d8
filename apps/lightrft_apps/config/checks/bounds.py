"""What each number may be, whatever the others are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightrft_apps.config.reading.text import as_text


@dataclass(frozen=True)
class Bound:
    """allows: whether a number will do; instead: what to set it to when it does not."""

    allows: Callable[[float], bool]
    instead: str


ONE_OR_MORE = Bound(lambda x: x >= 1, "1 or more")
ZERO_OR_MORE = Bound(lambda x: x >= 0, "0 or more")
ABOVE_ZERO = Bound(lambda x: x > 0, "a number above 0")
SHARE = Bound(lambda x: 0 <= x <= 1, "a number from 0 to 1")
PROBABILITY = Bound(lambda x: 0 < x <= 1, "a number above 0 and at most 1 (1 samples from all tokens)")
DECAY = Bound(lambda x: 0 <= x < 1, "two numbers from 0 to below 1, such as 0.9 0.95")
SAVE_EVERY = Bound(lambda x: x == -1 or x >= 1, "1 or more, or to -1 to save only at the end")
GRADE = Bound(lambda x: abs(x) < 1e6, "a number of up to six digits")
EVALUATE_EVERY = Bound(lambda x: x == -1 or x >= 1, "1 or more, or to -1 to evaluate only before and after")

BOUNDS = {
    "lora_rank": Bound(lambda x: x >= 0, "1 or more, or to 0 for no adapter"),
    "lora_alpha": ABOVE_ZERO,
    "lora_dropout": Bound(
        lambda x: x == 0, "0: with dropout, the policy that is trained is not the policy that was sampled"
    ),
    "max_samples": ONE_OR_MORE,
    "prompt_max_len": ONE_OR_MORE,
    "limit_mm_image_per_prompt": ZERO_OR_MORE,
    "limit_mm_video_per_prompt": ZERO_OR_MORE,
    "limit_mm_audio_per_prompt": ZERO_OR_MORE,
    "max_len": Bound(lambda x: x >= 2, "2 or more"),
    "lowest_grade": GRADE,
    "highest_grade": GRADE,
    "rollout_batch_size": ONE_OR_MORE,
    "n_samples_per_prompt": ONE_OR_MORE,
    "micro_rollout_batch_size": Bound(lambda x: x >= 0, "1 or more, or to 0 for no bound"),
    "generate_max_len": ONE_OR_MORE,
    "generate_min_len": ZERO_OR_MORE,
    "stop_token_ids": ZERO_OR_MORE,
    "temperature": Bound(
        lambda x: x > 0, "a number above 0, such as 1.0 (at 0 all samples of a prompt are equal: nothing to learn)"
    ),
    "top_p": PROBABILITY,
    "top_k": Bound(lambda x: x >= 0, "1 or more, or to 0 to sample from all tokens"),
    "engine_tp_size": ONE_OR_MORE,
    "engine_mem_util": Bound(lambda x: 0 < x <= 1, "a number above 0 and at most 1"),
    "max_num_seqs": ONE_OR_MORE,
    "vllm_num_engines": ONE_OR_MORE,
    "engine_timeout": ABOVE_ZERO,
    "train_batch_size": ONE_OR_MORE,
    "micro_train_batch_size": ONE_OR_MORE,
    "max_tokens_per_micro_batch": ONE_OR_MORE,
    "ranks_timeout": ABOVE_ZERO,
    "stall_timeout": ABOVE_ZERO,
    "tp_size": ONE_OR_MORE,
    "sp_size": ONE_OR_MORE,
    "ring_attn_size": ONE_OR_MORE,
    "max_ckpt_mem": ABOVE_ZERO,
    "max_epochs": ONE_OR_MORE,
    "num_episodes": ONE_OR_MORE,
    "max_steps": ONE_OR_MORE,
    "actor_learning_rate": Bound(lambda x: x > 0, "a number above 0, such as 1e-6"),
    "vision_learning_rate": ABOVE_ZERO,
    "learning_rate": Bound(lambda x: x > 0, "a number above 0, such as 5e-6"),
    "lr_warmup_ratio": SHARE,
    "adam_betas": DECAY,
    "adam_eps": ABOVE_ZERO,
    "l2": ZERO_OR_MORE,
    "max_norm": Bound(lambda x: x >= 0, "a number above 0, or to 0 to clip nothing"),
    "max_skipped_steps": ONE_OR_MORE,
    "aux_loss_coef": ZERO_OR_MORE,
    "ema_beta": Bound(lambda x: 0 <= x < 1, "a number from 0 to below 1, such as 0.992"),
    "first_token_temperature": ABOVE_ZERO,
    "first_token_top_k": Bound(lambda x: x >= 0, "1 or more, or to 0 to draw from all tokens"),
    "eps_clip": ABOVE_ZERO,
    "eps_clip_low_high": ABOVE_ZERO,
    "dual_clip": Bound(lambda x: x > 1, "a number above 1, such as 3"),
    "drift_coef": ZERO_OR_MORE,
    "drift_bound": ABOVE_ZERO,
    "entropy_coef": ZERO_OR_MORE,
    "high_entropy_token_ratio": Bound(lambda x: 0 < x <= 1, "a number above 0 and at most 1 (1: all tokens)"),
    "gamma": Bound(lambda x: 0 < x <= 1, "a number above 0 and at most 1"),
    "lambd": SHARE,
    "advantage_clip": ZERO_OR_MORE,
    "init_kl_coef": ZERO_OR_MORE,
    "kl_target": ABOVE_ZERO,
    "kl_horizon": ABOVE_ZERO,
    "teacher_kl_coef": ZERO_OR_MORE,
    "critic_learning_rate": ABOVE_ZERO,
    "value_clip": ABOVE_ZERO,
    "freezing_actor_steps": ZERO_OR_MORE,
    "vllm_is_truncated_threshold": ZERO_OR_MORE,
    "overlong_buffer_len": ONE_OR_MORE,
    "overlong_buffer_penalty_factor": ABOVE_ZERO,
    "length_reward_coef": ZERO_OR_MORE,
    "step_reward_coef": ZERO_OR_MORE,
    "reward_clip": ZERO_OR_MORE,
    "dynamic_filtering_reward_range": SHARE,
    "dynamic_sampling_max_rounds": ONE_OR_MORE,
    "keep_best": ZERO_OR_MORE,
    "stop_properly_penalty_coef": Bound(lambda x: x <= 1, "a number up to 1 (1 leaves rewards alone)"),
    "reward_timeout": ABOVE_ZERO,
    "reward_workers": ONE_OR_MORE,
    "reward_max_len": ONE_OR_MORE,
    "reward_token_budget": ONE_OR_MORE,
    "judge_opponents": ONE_OR_MORE,
    "judge_samples": ONE_OR_MORE,
    "judge_temperature": ZERO_OR_MORE,
    "judge_timeout": ABOVE_ZERO,
    "max_reward_error_share": SHARE,
    "eval_steps": EVALUATE_EVERY,
    "eval_temperature": ZERO_OR_MORE,
    "eval_n_samples_per_prompt": ONE_OR_MORE,
    "eval_max_samples": ONE_OR_MORE,
    "eval_generate_max_len": ONE_OR_MORE,
    "probing_layer": Bound(lambda x: x == -1 or x >= 1, "the number of layers to keep, 1 or more, or to -1 for all"),
    "margin": ZERO_OR_MORE,
    "label_smoothing": Bound(lambda x: 0 <= x < 0.5, "a number from 0 to below 0.5, such as 0.1"),
    "loss_temperature": ABOVE_ZERO,
    "tie_share": Bound(lambda x: 0 < x < 1, "a number between 0 and 1, such as 0.33"),
    "huber_delta": ABOVE_ZERO,
    "seed": ZERO_OR_MORE,
    "save_steps": SAVE_EVERY,
    "max_ckpt_num": ONE_OR_MORE,
}


def out_of_bounds(flat: Mapping[str, Any], bounds: Mapping[str, Bound] = BOUNDS) -> Iterator[str]:
    """What to change about each number that nothing could work with; infinite and NaN never do."""
    for name, bound in bounds.items():
        value = flat.get(name)
        numbers = () if value is None else value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) and bound.allows(number) for number in numbers):
            yield f"--{name} {as_text(value)}: set it to {bound.instead}"

"""Flags of the algorithm that would have no effect, or that contradict each other, are refused before a model loads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightrft_apps.config import ConfigError, RLConfig, check
from lightrft_apps.config.algorithm import build_algorithm
from lightrft_core import (
    ALGORITHMS,
    ICEPOP,
    AdaptiveKL,
    Bounds,
    DynamicSampling,
    KLPlacement,
    RewardShaping,
    RolloutFilter,
)

GOOD: dict[str, Any] = {
    "pretrain": "someone/model",
    "prompt_data": "someone/prompts",
    "output_dir": "run",
    "rule_reward": "number",
}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"algorithm": "grop"}, "--algorithm grop: set it to one of grpo, "),
    ({"advantage_estimator": "mean"}, "--advantage_estimator mean: set it to one of group_norm, "),
    ({"policy_loss_type": "trpo"}, "--policy_loss_type trpo: set it to one of ppo, "),
    ({"n_samples_per_prompt": 1}, "a group of one has no signal"),
    ({"advantage_estimator": "rloo", "n_samples_per_prompt": 1}, "--n_samples_per_prompt 1 with rloo"),
    ({"eps_clip": 0.2, "eps_clip_low_high": (0.2, 0.3)}, "leave out --eps_clip"),
    ({"algorithm": "cpgd", "eps_clip": 1.5}, "set it below 1"),
    ({"init_kl_coef": 0, "kl_estimator": "k2"}, "--kl_estimator has no effect: set --init_kl_coef above 0"),
    ({"init_kl_coef": 0, "use_kl_loss": True}, "--use_kl_loss has no effect"),
    ({"algorithm": "dapo", "kl_target": 0.1}, "--kl_target has no effect"),
    ({"kl_estimator": "k1"}, "k1 in the loss has a gradient of zero mean"),
    ({"algorithm": "reinforce_pp", "use_kl_loss": True, "kl_estimator": "k1"}, "k1 in the loss"),
    ({"algorithm": "ppo", "kl_unbiased_gradient": True}, "set --use_kl_loss true"),
    ({"teacher_kl_coef": 0.1}, "set --teacher_pretrain"),
    ({"teacher_pretrain": "someone/teacher"}, "set --teacher_kl_coef above 0"),
    ({"algorithm": "cispo", "policy_loss_type": "cpgd", "eps_clip": 1.0}, "set it below 1"),
    ({"algorithm": "reinforce_pp", "n_samples_per_prompt": 1, "dynamic_sampling": True}, "none would be kept"),
    ({"algorithm": "reinforce", "n_samples_per_prompt": 1, "length_reward_coef": 1.0}, "compares a prompt's answers"),
    ({"algorithm": "gspo", "use_icepop": True}, "set --is_correction_level to geometric"),
    ({"algorithm": "gmpo", "high_entropy_token_ratio": 0.2}, "set --policy_loss_type to gspo_token"),
    ({"algorithm": "reinforce_pp_baseline", "kl_unbiased_gradient": True}, "k2 has that gradient"),
    ({"drift_bound": 0.3}, "set --drift_coef above 0"),
    ({"reward_running_norm": True, "reward_running_norm_minus_mean": True}, "takes a mean off itself"),
    ({"keep_best": 8}, "keep fewer"),
    ({"algorithm": "rloo", "keep_best": 4}, "--keep_best with rloo"),
    ({"algorithm": "rloo", "overlong_filtering": True}, "--overlong_filtering with rloo"),
    ({"kl_horizon": 5000.0}, "--kl_horizon has no effect: set --kl_target"),
    ({"algorithm": "reinforce", "eps_clip": 0.3}, "--eps_clip has no effect"),
    ({"algorithm": "gmpo", "dual_clip": 3.0}, "--dual_clip has no effect"),
    ({"first_token_temperature": 5.0}, "--first_token_temperature has no effect: set --use_fire"),
    ({"overlong_buffer_penalty_factor": 2.0}, "--overlong_buffer_penalty_factor has no effect"),
    ({"dynamic_filtering_reward_range": (0.1, 0.9)}, "has no effect: set --dynamic_sampling"),
    ({"dynamic_sampling_max_rounds": 3}, "--dynamic_sampling_max_rounds has no effect"),
    ({"critic_learning_rate": 1e-5}, "--critic_learning_rate has no effect"),
    ({"critic_pretrain": "someone/critic"}, "--critic_pretrain has no effect: set --algorithm ppo"),
    ({"value_clip": 0.1}, "--value_clip has no effect"),
    ({"freezing_actor_steps": 3}, "--freezing_actor_steps has no effect"),
    ({"lambd": 0.9}, "--lambd has no effect"),
    ({"enable_vllm_is_correction": True, "use_icepop": True}, "two corrections"),
    ({"use_icepop": True, "vllm_is_truncated_threshold": (2.0, 1.0)}, "must be below the second"),
    ({"vllm_is_truncated_threshold": (0.5, 2.0)}, "set --enable_vllm_is_correction"),
    ({"is_correction_level": "sequence"}, "has no effect"),
    ({"overlong_buffer": False, "overlong_buffer_len": 5}, "has no effect: set --overlong_buffer"),
    ({"overlong_buffer_len": 2000}, "at most --generate_max_len 1024"),
    ({"reward_running_norm_minus_mean": True, "algorithm": "reinforce"}, "set --reward_running_norm, or"),
    ({"keep_best": 9}, "only --n_samples_per_prompt 8 answers"),
    ({"dynamic_sampling": True, "dynamic_filtering_reward_range": (0.8, 0.2)}, "must be below the second"),
    ({"ttrl": True, "rule_reward": "format"}, "one rule that reads an answer"),
    ({"ttrl": True, "rule_reward": "number:1,format:1"}, "one rule that reads an answer"),
    ({"ttrl": True, "reward_routes": {"a": "number"}}, "leave out --reward_routes"),
    ({"ttrl": True, "n_samples_per_prompt": 1, "algorithm": "reinforce"}, "one answer has no majority"),
]


@pytest.mark.parametrize(("flags", "told"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_flags_that_cannot_mean_anything_are_refused(flags: dict[str, Any], told: str) -> None:
    (problem,) = check(RLConfig.create(**GOOD | flags))
    assert told in problem


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_row_is_accepted_and_built_as_it_stands(name: str) -> None:
    config = RLConfig.create(**GOOD, algorithm=name)
    assert check(config) == []
    assert build_algorithm(config) == ALGORITHMS[name]


def test_another_objective_brings_its_papers_bounds_unless_they_are_given() -> None:
    for name, bounds in (("gspo", (3e-4, 4e-4)), ("gmpo", (0.4, 0.4)), ("ppo", (0.2, 0.28))):
        built = build_algorithm(RLConfig.create(**GOOD, algorithm="dapo", policy_loss_type=name))
        assert (built.bounds.low, built.bounds.high) == bounds
    given = build_algorithm(RLConfig.create(**GOOD, policy_loss_type="gspo", eps_clip_low_high=(0.1, 0.2)))
    assert (given.bounds.low, given.bounds.high) == (0.1, 0.2)


def test_a_row_with_pieces_that_flags_could_set_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: dict[str, Any] = {
        "entropy_coef": 0.01,
        "advantage_clip": 5.0,
        "correction": ICEPOP,
        "kl_unbiased": True,
        "adaptive_kl": AdaptiveKL(0.1),
        "teacher_kl_coef": 0.2,
        "chosen": RolloutFilter(mask_truncated=True, keep_best=2),
        "dynamic_sampling": DynamicSampling(0.1, 0.9, 3),
        "bounds": Bounds(0.1, 0.3, dual=3.0),
        "shaping": RewardShaping(overlong_buffer=7, length_coefficient=0.1, running_norm=True, clip=(-2.0, 2.0)),
    }
    rich = replace(ALGORITHMS["grpo"], **pieces)
    monkeypatch.setitem(ALGORITHMS, "rich", rich)
    assert build_algorithm(RLConfig.create(**GOOD, algorithm="rich")) == rich


@pytest.mark.parametrize(("algorithm", "use_kl_loss", "estimator"), [("grpo", False, "k1"), ("ppo", True, "k2")])
def test_a_divergence_that_moves_takes_the_estimator_that_fits_there(
    algorithm: str, use_kl_loss: bool, estimator: str
) -> None:
    config = RLConfig.create(**GOOD, algorithm=algorithm, use_kl_loss=use_kl_loss)
    assert check(config) == []
    assert build_algorithm(config).kl_estimator == estimator


def test_one_field_under_two_spellings_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep one"):
        RLConfig.create(**GOOD, normalize_reward=False, reward_running_norm=True)


def test_a_flag_overrides_one_piece_and_leaves_the_others() -> None:
    built = build_algorithm(RLConfig.create(**GOOD, algorithm="dapo", loss_agg_mode="constant-length"))
    assert built.aggregation == "constant-length"
    assert (built.bounds, built.dynamic_sampling) == (Bounds(0.2, 0.28), ALGORITHMS["dapo"].dynamic_sampling)


@pytest.mark.parametrize(
    ("algorithm", "use_kl_loss", "placement"),
    [
        ("grpo", None, KLPlacement.LOSS),
        ("grpo", False, KLPlacement.REWARD),
        ("ppo", None, KLPlacement.REWARD),
        ("rloo", None, KLPlacement.SEQUENCE_REWARD),
        ("rloo", False, KLPlacement.SEQUENCE_REWARD),
        ("rloo", True, KLPlacement.LOSS),
    ],
)
def test_the_divergence_goes_where_the_flag_says(
    algorithm: str, use_kl_loss: bool | None, placement: KLPlacement
) -> None:
    config = RLConfig.create(**GOOD, algorithm=algorithm, use_kl_loss=use_kl_loss, kl_estimator="k2")
    assert check(config) == []
    assert build_algorithm(config).kl_placement is placement


@pytest.mark.parametrize(
    ("flags", "penalised"),
    [
        ({}, None),
        ({"algorithm": "dapo"}, 1024 - 205 + 1),
        ({"algorithm": "dapo", "overlong_buffer": False}, None),
        ({"algorithm": "dapo", "overlong_buffer_len": 64}, 1024 - 64 + 1),
        ({"overlong_buffer": True}, 1024 - 205 + 1),
        ({"overlong_buffer_len": 64}, 1024 - 64 + 1),
    ],
)
def test_the_overlong_buffer_is_the_rows_or_the_flags(
    flags: dict[str, Any], penalised: int | None, build_group: Any
) -> None:
    """penalised: the length of the shortest answer that pays, of 1024 tokens at most."""
    lengths = range(1024 - 300, 1025)
    group = build_group([1], [[2] * length for length in lengths], [1.0] * len(lengths))
    shaping = build_algorithm(RLConfig.create(**GOOD | flags)).shaping
    shaping.judge(group, [rollout.verdict for rollout in group.rollouts], 1024)
    paying = [len(r.token_ids) for r in group.rollouts if r.verdict.parts.get("overlong", 0) < 0]
    assert min(paying, default=None) == penalised


@pytest.mark.parametrize(
    ("alias", "name"), [("normalize_reward", "reward_running_norm"), ("dynamic_filtering", "dynamic_sampling")]
)
def test_flags_people_bring_along_mean_ours(alias: str, name: str, tmp_path: Any) -> None:
    from lightrft_apps.config import parse_rl

    words = [word for flag, value in GOOD.items() for word in (f"--{flag}", value)]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{alias}: true\n")
    for more in ([f"--{alias}"], ["--config", str(recipe)]):
        assert getattr(parse_rl([*words, *more]).shaping, name) is True
    assert getattr(parse_rl([*words, f"--no-{alias}"]).shaping, name) is False

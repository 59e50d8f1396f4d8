"""The same configuration from Python: keywords, dicts and sections."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import ConfigError, DataArgs, ModelArgs, RLConfig, RolloutArgs, RunArgs, parse_rl

NEEDED: dict[str, Any] = {"pretrain": "model", "prompt_data": "prompts", "output_dir": "run"}


def test_keywords_and_flags_make_the_same_configuration() -> None:
    needed = ["--pretrain", "model", "--prompt_data", "prompts", "--output_dir", "run"]
    by_flags = parse_rl([*needed, "--rule_reward", "number:1.0", "--bf16", "--max_steps", "3"])
    assert RLConfig.create(**NEEDED, rule_reward="number:1.0", bf16=True, max_steps=3) == by_flags


def test_sections_may_be_composed_by_hand() -> None:
    config = RLConfig(
        model=ModelArgs(pretrain="model"),
        data=DataArgs(prompt_data="prompts"),
        rollout=RolloutArgs(top_k=5),
        run=RunArgs(output_dir="run"),
    )
    assert config == RLConfig.create(**NEEDED, top_k=5)


def test_a_keyword_may_name_a_flag_by_its_opposite() -> None:
    assert RLConfig.create(**NEEDED, disable_engine_sleep=True).engine.enable_engine_sleep is False
    assert RLConfig.create(**NEEDED, disable_engine_sleep=False).engine.enable_engine_sleep is True
    with pytest.raises(ConfigError, match="are the same flag: keep one"):
        RLConfig.create(**NEEDED, disable_engine_sleep=True, enable_engine_sleep=False)


def test_flat_and_nested_hold_the_same_values() -> None:
    config = RLConfig.create(**NEEDED, adam_betas=[0.8, 0.9], reward_routes={"math": "number:1.0"})
    flat = config.to_flat()
    assert flat["adam_betas"] == (0.8, 0.9)
    assert flat["n_samples_per_prompt"] == config.rollout.n_samples_per_prompt == 8
    assert RLConfig.from_flat(flat) == config


def test_defaults_are_those_the_manual_states() -> None:
    flat = RLConfig.create(**NEEDED).to_flat()
    assert {name: flat[name] for name in ("rollout_batch_size", "n_samples_per_prompt", "temperature", "seed")} == {
        "rollout_batch_size": 128,
        "n_samples_per_prompt": 8,
        "temperature": 1.0,
        "seed": 42,
    }
    assert flat["actor_learning_rate"] == 1e-6
    assert flat["train_batch_size"] is None


def test_unknown_keywords_are_answered_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as refused:
        RLConfig.create(**NEEDED, n_sample_per_prompt=4, temprature=1.0)
    assert refused.value.problems == (
        "unknown name n_sample_per_prompt; did you mean n_samples_per_prompt?",
        "unknown name temprature; did you mean temperature?",
    )


def test_values_of_another_type_are_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        RLConfig.create(**NEEDED, temperature="hot", seed=1.5, bf16=None, reward_routes={"math": 1})
    assert refused.value.problems == (
        "temperature='hot': expected a number",
        "seed=1.5: expected a whole number",
        "bf16=None: expected true or false",
        """reward_routes={'math': 1}: expected names with a text each, such as {"math": "number:1.0"}""",
    )


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="output_dir is needed") as refused:
        RLConfig.create(pretrain="model", prompt_data="prompts")
    assert len(refused.value.problems) == 1


def test_whole_numbers_do_for_numbers_and_paths_for_text() -> None:
    config = RLConfig.create(**NEEDED | {"output_dir": Path("runs") / "first"}, temperature=1)
    assert config.run.output_dir == "runs/first"
    assert config.rollout.temperature == 1.0


def test_a_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        RLConfig.create(**NEEDED).run.seed = 1  # type: ignore[misc]

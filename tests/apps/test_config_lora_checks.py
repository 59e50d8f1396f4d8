"""What flags of adapters and freezing cannot do together or here is said before anything loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import RLConfig, check
from lightrft_apps.config.checks import lora as lora_checks

GOOD: dict[str, Any] = {"pretrain": "m", "prompt_data": "p", "output_dir": "run", "rule_reward": "number"}
LORA, FOUR = {"lora_rank": 8}, {"lora_rank": 8, "load_in_4bit": True}


def problems(**flat: Any) -> list[str]:
    return check(RLConfig.create(**GOOD | flat))


def only_problem(**flat: Any) -> str:
    (problem,) = problems(**flat)
    return problem


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with every package."""
    monkeypatch.setattr(lora_checks, "find_spec", lambda name: name)


@pytest.mark.parametrize("flags", [LORA, LORA | {"target_modules": "q_proj,v_proj"}, {"freeze_prefix": "model.embed"}])
def test_sound_flags_have_no_problems(flags: dict[str, Any]) -> None:
    assert problems(**flags) == []


@pytest.mark.parametrize("flags", [{"lora_alpha": 8.0}, {"target_modules": "q_proj"}])
def test_flags_of_an_adapter_need_one(flags: dict[str, Any]) -> None:
    (flag,) = flags
    assert only_problem(**flags) == f"--{flag} has no effect: set --lora_rank, such as 16, or leave --{flag} out"


def test_dropout_is_refused_with_the_reason() -> None:
    for flags in ({}, LORA):
        problem = only_problem(lora_dropout=0.05, **flags)
        assert problem.startswith("--lora_dropout 0.05: set it to 0: with dropout, the policy that is trained is not")


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_checks, "find_spec", lambda name: None)
    assert only_problem(**LORA) == "--lora_rank 8: the package peft is not installed: install lightrft-strategy[lora]"


@pytest.mark.usefixtures("able")
def test_four_bits_are_accepted_where_they_can_be_held() -> None:
    assert problems(**FOUR) == []


@pytest.mark.usefixtures("able")
def test_weights_in_four_bits_cannot_be_trained() -> None:
    why = "weights in 4 bits cannot be trained, an adapter on them can: set --lora_rank, such as 16"
    assert only_problem(load_in_4bit=True) == f"--load_in_4bit: {why}"


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("flags", [{"fsdp": True}, {"zero_stage": 2}])
def test_weights_in_four_bits_stay_whole(flags: dict[str, Any]) -> None:
    assert [problem for problem in problems(**FOUR | flags) if "4bit" in problem] == [
        "--load_in_4bit: weights in 4 bits cannot be held in shards: leave --fsdp and --zero_stage out"
    ]


@pytest.mark.usefixtures("able")
def test_engines_beside_the_trainer_are_handed_no_weights_in_four_bits() -> None:
    told = problems(**FOUR, engine_type="vllm", engine_url="http://127.0.0.1:1")
    assert [problem for problem in told if "set --engine_type embedded" in problem]


@pytest.mark.usefixtures("able")
def test_an_engine_is_not_handed_sums_out_of_the_shards_of_zero_3() -> None:
    beside = LORA | {"engine_type": "vllm", "engine_url": "http://127.0.0.1:1"}
    for stage, refused in ((2, False), (3, True)):
        told = problems(**beside, zero_stage=stage)
        assert any("set --zero_stage 2, --fsdp or --engine_type embedded" in problem for problem in told) == refused


def test_a_machine_without_the_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_checks, "find_spec", lambda package: None if package == "bitsandbytes" else package)
    assert only_problem(**FOUR) == (
        "--load_in_4bit: the package bitsandbytes is not installed: install lightrft-strategy[qlora]"
    )


@pytest.mark.parametrize("value", ["", "a,", ",", "a,,b"])
@pytest.mark.parametrize("flag", ["target_modules", "freeze_prefix"])
def test_an_empty_name_is_refused(flag: str, value: str) -> None:
    assert only_problem(**{flag: value, "lora_rank": 8}).startswith(f"--{flag} {value}: there is an empty name in it")


@pytest.mark.parametrize(
    ("flag", "context"),
    [("pretrain", {}), ("critic_pretrain", {"algorithm": "ppo"}), ("teacher_pretrain", {"teacher_kl_coef": 0.1})],
)
def test_an_adapter_in_place_of_a_model_is_told_how_to_merge(
    flag: str, context: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    problem = only_problem(**context, **{flag: str(tmp_path)})
    assert problem.startswith(f"--{flag} {tmp_path}: this is an adapter, not a whole model: merge it by lightrft merge")

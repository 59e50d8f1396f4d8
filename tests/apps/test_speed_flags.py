"""--compile, --balance_speeds, --placement and attention: what is refused early, and what a run makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_apps import RLConfig, train
from lightrft_apps.config import ModelArgs, check
from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.models import compose, loading
from lightrft_apps.training import rl as training
from lightrft_core import Paces, Trainer, TrainState
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training.compiling import SampledUncompiled, compile_layers
from lightrft_strategy.training.replica import Replica

BASE = {
    "pretrain": "smollm2",
    "prompt_data": "reasoning_gym:chain_sum",
    "rule_reward": "number",
    "output_dir": "runs/x",
}


def problems(**flags: Any) -> list[str]:
    return check(RLConfig.create(**BASE, **flags))


def test_compiling_needs_a_compiler_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: name == "clang++")
    assert problems(compile=True) == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    (problem,) = problems(compile=True)
    assert problem.startswith("--compile: ") and "there is no no-such-compiler" in problem and "CXX" in problem
    monkeypatch.delenv("CXX")
    monkeypatch.setattr("shutil.which", lambda name: None)
    (problem,) = problems(compile=True)
    assert "no g++ or clang++ or c++" in problem
    assert problems() == []


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"compile": True, "zero_stage": 3}, "--compile with --zero_stage 3"),
        ({"compile": True, "aux_loss_coef": 0.1}, "--compile with --aux_loss_coef"),
        ({"balance_speeds": True}, "--balance_speeds has no effect: start several processes"),
        ({"balance_speeds": True, "zero_stage": 3}, "--balance_speeds with --zero_stage 3"),
        ({"placement": "colocate"}, "--placement colocate: this machine has no accelerator"),
        ({"placement": "colocate", "zero_stage": 2}, "set --adam_offload instead"),
        ({"placement": "colocate", "fsdp": True, "fsdp_offload": True}, "--placement colocate with --fsdp_offload"),
        ({"attn_implementation": "flash_attention_2"}, "--attn_implementation flash_attention_2: flash attention is"),
        ({"attn_implementation": "kernels-community/flash-attn2"}, "computed on accelerators, and there is none here"),
        ({"attn_implementation": "fast"}, "--attn_implementation fast: set it to one of eager, flash_attention_2"),
        (
            {"attn_implementation": "eager", "packing_samples": True},
            "--attn_implementation eager with --packing_samples",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_loads(flags: dict[str, Any], complaint: str) -> None:
    assert any(complaint in problem for problem in problems(**flags))


def test_attention_that_can_be_computed_is_accepted() -> None:
    for flags in ({}, {"packing_samples": True}, {"attn_implementation": "eager"}):
        assert problems(**flags) == []
    assert problems(attn_implementation="sdpa", packing_samples=True) == []


def test_flash_attention_needs_its_package_and_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import import_utils

    from lightrft_strategy import devices

    monkeypatch.setattr(devices, "device", lambda: torch.device("meta"))
    for there, bf16, expected in (
        (False, True, ["the package flash-attn is not installed: install it, or leave --attn_implementation out"]),
        (True, False, ["flash attention computes in bfloat16 and float16 alone: set --bf16, or leave it out"]),
        (True, True, []),
    ):
        monkeypatch.setattr(import_utils, "is_flash_attn_2_available", lambda there=there: there)
        args = ModelArgs("model", bf16=bf16, attn_implementation="flash_attention_2")
        found = [
            problem.removeprefix("--attn_implementation flash_attention_2: ") for problem in attention_problems(args)
        ]
        assert found == expected


@pytest.mark.proof
@pytest.mark.usefixtures("one_thread")
def test_a_compiled_run_learns_what_a_run_learns(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def by_eager(module: Any) -> None:
        compiled.append(module)
        compile_layers(module, "eager")

    monkeypatch.setattr("lightrft_apps.models.compose.compile_layers", by_eager)
    lines = []
    for name, more in (("plain", {}), ("compiled", {"compile": True})):
        train(RLConfig.create(**flags | more | {"output_dir": str(tmp_path / name), "packing_samples": True}))
        lines.append([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()])
    assert len(compiled) == 1
    for plain, other in zip(*lines, strict=True):
        for number in ("reward/mean", "policy/loss", "optimiser/grad_norm", "engine/logprob_gap_max"):
            assert other[number] == pytest.approx(plain[number], rel=1e-3, abs=1e-5)


def built(monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a run's trainer is made of."""

    class Built(Exception):
        pass

    def stop(**parts: Any) -> Trainer:
        raise Built(parts)

    monkeypatch.setattr(training, "Trainer", stop)
    with pytest.raises(Built) as stopped:
        train(RLConfig.create(**flags, **more))
    parts: dict[str, Any] = stopped.value.args[0]
    return parts


def test_what_rests_between_phases_is_known_to_what_enters_them(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training, "require_valid", lambda config: None)
    more = {"init_kl_coef": 0.1, "output_dir": str(tmp_path / "other")}
    parts = built(monkeypatch, flags | more, placement="colocate")
    moments, reference = parts["recorder"].placement.resting
    assert (moments.phases, reference.phases) == ({"optimise"}, {"estimate"})
    held = parts["strategy"].held["reference"].module
    assert {part.data_ptr() for part in reference.tensors()} >= {part.data_ptr() for part in held.parameters()}
    assert built(monkeypatch, flags)["recorder"].placement.resting == []


def test_the_copy_that_is_sampled_from_rests_while_nothing_is_sampled(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "require_valid", lambda config: None)

    def copied(config: RLConfig, senses: Any, strategy: Any) -> Replica[Any]:
        model = loading.load_model(config.model)
        return Replica(LanguageActor(model), strategy.held["policy"])

    monkeypatch.setattr(compose, "build_replica", copied)
    parts = built(monkeypatch, flags, placement="colocate")
    copy, *others = parts["recorder"].placement.resting
    assert copy.phases == {"sample", "publish", "evaluate", "checkpoint"}
    assert copy.phases.isdisjoint(phase for other in others for phase in other.phases)
    weights = parts["engine"].replica.model.parameters()
    assert {part.data_ptr() for part in copy.tensors()} >= {part.data_ptr() for part in weights}


def test_what_samples_from_the_compiled_policy_itself_samples_as_before(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightrft_apps.models.compose.compile_layers", lambda module: None)
    parts = built(monkeypatch, flags, compile=True)
    assert isinstance(parts["engine"], SampledUncompiled)
    assert not parts["sizes"].shared_prompts and not parts["strategy"].held["policy"].module.sharing
    assert parts["sizes"].cost.linear > parts["sizes"].cost.quadratic > 0, "the model's own"
    assert parts["state"].paces is None


def test_speeds_are_kept_in_checkpoints_when_work_is_to_be_dealt_by_them(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "require_valid", lambda config: None)
    train(RLConfig.create(**flags, balance_speeds=True))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["time/imbalance"] for line in lines] == [1.0, 1.0]
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    paces = TrainState.load(checkpoint).paces
    assert isinstance(paces, Paces)
    (speed,) = paces.speeds(1) or ()
    assert 0 < speed < float("inf")

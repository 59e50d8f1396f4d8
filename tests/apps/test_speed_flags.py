"""--compile, --balance_speeds and --placement: what is refused before anything loads, and what a run makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import RLConfig, train
from lightrft_apps.config import check
from lightrft_apps.training import rl as training
from lightrft_core import Paces, Trainer, TrainState
from lightrft_strategy.training.compiling import SampledUncompiled, compile_layers

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
    ],
)
def test_what_cannot_be_is_told_before_anything_loads(flags: dict[str, Any], complaint: str) -> None:
    assert any(complaint in problem for problem in problems(**flags))


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

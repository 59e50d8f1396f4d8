"""Runs in float16, runs that average their weights and runs that balance experts; and which flags are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightrft_apps.config import ConfigError, ModelArgs, RLConfig, check
from lightrft_apps.config.checks.precision import precision_problems

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = {
    "pretrain": "smollm2",
    "prompt_data": "reasoning_gym:chain_sum",
    "rule_reward": "number",
    "output_dir": "runs/x",
}


def train(**flags: Any) -> dict[str, Any]:
    from lightrft_apps import train

    return train(RLConfig.create(**flags, progress=False))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def in_checkpoint(run: Path, kind: str) -> dict[str, torch.Tensor]:
    """The policy's weights, or their average, in the newest checkpoint, by the names of the Hugging Face model."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.removeprefix("step_")))
    stored = [load_file(path) for path in (newest / "policy").glob("*.safetensors")]
    return {
        name.removeprefix(f"{kind}.model."): tensor
        for part in stored
        for name, tensor in part.items()
        if name.startswith(f"{kind}.")
    }


@pytest.mark.proof
def test_a_run_in_float16_learns_and_leaves_a_model_in_float16(flags: dict[str, Any], tmp_path: Path) -> None:
    flags |= {"rollout_batch_size": 8, "n_samples_per_prompt": 8, "generate_max_len": 8, "num_episodes": 100}
    rewards = train(**flags, fp16=True, init_kl_coef=0.0001, max_steps=10, seed=1)["rewards"]
    assert sum(rewards[-2:]) / 2 > rewards[0] + 0.25
    numbers = lines(tmp_path / "run")
    assert all(line["optimiser/loss_scale"] in [2.0**power for power in range(17)] for line in numbers)
    assert sum(line["optimiser/overflow_share"] for line in numbers) <= 3
    assert all(line["optimiser/skipped_share"] == 0 for line in numbers)
    assert all(line["engine/logprob_gap_mean"] < 5e-3 for line in numbers), "the engine samples in float16, too"
    assert all(line["policy/kl_reference"] >= 0 for line in numbers)
    assert {tensor.dtype for tensor in weights(tmp_path / "run" / "final").values()} == {torch.float16}


def test_an_overflow_of_the_scale_costs_a_step_and_is_not_a_fault(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four in a row, where two faults would end the run."""
    from lightrft_strategy.training import whole

    plain, bad = whole.Whole.step, iter([True] * 4 + [False] * 2)

    def step(self: Any, learning_rate: float) -> tuple[float, str]:
        if next(bad):
            next(iter(self.masters.values())).grad.fill_(float("inf"))
        return plain(self, learning_rate)

    monkeypatch.setattr(whole.Whole, "step", step)
    train(**flags | {"max_steps": 6, "num_episodes": 9, "max_skipped_steps": 2, "fp16": True})
    numbers = lines(tmp_path / "run")
    assert [line["optimiser/loss_scale"] for line in numbers] == [2.0**power for power in (16, 15, 14, 13, 12, 12)]
    assert [line["optimiser/overflow_share"] for line in numbers] == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("bf16", [False, True])
def test_the_average_is_left_beside_the_model_and_is_that_of_the_checkpoint(
    flags: dict[str, Any], tmp_path: Path, bf16: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = tmp_path / "run"
    train(**flags, enable_ema=True, ema_beta=0.5, bf16=bf16)
    dtype = torch.bfloat16 if bf16 else torch.float32
    for folder, kind in (("final", "master"), ("final_ema", "ema")):
        found, kept = weights(run / folder), in_checkpoint(run, kind)
        assert found.keys() == kept.keys()
        assert all(torch.equal(found[name], kept[name].to(dtype)) for name in found)
    average, begun = in_checkpoint(run, "ema"), weights(Path(flags["pretrain"]))
    masters = in_checkpoint(run, "master")
    assert all(not torch.equal(average[name], masters[name]) for name in average if masters[name].ne(begun[name]).any())
    AutoModelForCausalLM.from_pretrained(run / "final_ema")
    AutoTokenizer.from_pretrained(run / "final_ema")


@pytest.mark.proof
def test_shards_leave_their_average_too(flags: dict[str, Any], tmp_path: Path) -> None:
    words = [f"--{name}={value}" for name, value in (flags | {"ema_beta": 0.5}).items()]
    command = [sys.executable, "-m", "lightrft_apps", "launch", "--nproc_per_node", "2", "rl", *words]
    switches = ["--enable_ema", "--bf16", "--fsdp", "--no-progress"]
    env = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*command, *switches], env=env, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stderr
    run = tmp_path / "run"
    parts = [load_file(path) for path in sorted((run / "checkpoints").glob("*/policy/*.safetensors"))]
    for folder, kind in (("final", "master"), ("final_ema", "ema")):
        for name, found in weights(run / folder).items():
            key = f"{kind}.model.{name}"
            whole = torch.cat([part[key] for part in parts if key in part])
            assert torch.equal(found, whole.bfloat16())


def test_an_average_that_forgets_all_is_the_model_and_without_the_flag_there_is_none(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    train(**flags, enable_ema=True, ema_beta=0.0)
    one, other = weights(tmp_path / "run" / "final"), weights(tmp_path / "run" / "final_ema")
    assert all(torch.equal(one[name], other[name]) for name in one)
    train(**flags | {"output_dir": str(tmp_path / "plain")})
    assert not (tmp_path / "plain" / "final_ema").exists()
    same = weights(tmp_path / "plain" / "final")
    assert all(torch.equal(one[name], same[name]) for name in one), "an average changes nothing of the run"


@pytest.fixture(scope="module")
def experts(tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a mixture of four experts."""
    folder = tmp_path_factory.mktemp("experts") / "model"
    shutil.copytree(tiny_folder, folder)
    options = {"num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 17, "eos_token_id": 0}
    tiny_model(family="Mixtral", **options).save_pretrained(folder)
    return folder


@pytest.mark.proof
def test_balancing_experts_lowers_their_imbalance(flags: dict[str, Any], experts: Path, tmp_path: Path) -> None:
    flags |= {"pretrain": str(experts), "max_steps": 8, "num_episodes": 9, "actor_learning_rate": 0.01, "seed": 3}
    ends = {}
    for coefficient in (1e-9, 1.0):
        folder = tmp_path / f"run {coefficient}"
        train(**flags | {"output_dir": str(folder), "aux_loss_coef": coefficient})
        numbers = [line["policy/aux_loss"] for line in lines(folder)]
        assert all(1 <= number <= 4 for number in numbers)
        ends[coefficient] = (numbers[0], numbers[-1])
    assert ends[1.0][0] == pytest.approx(ends[1e-9][0], abs=1e-4), "both begin alike"
    assert ends[1.0][1] < ends[1.0][0] and ends[1.0][1] < ends[1e-9][1]


def test_a_model_without_experts_cannot_be_balanced(flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"--pretrain .*: LlamaForCausalLM has no routers.*leave --aux_loss_coef out"):
        train(**flags, aux_loss_coef=0.01)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"bf16": True, "fp16": True}, "--bf16 and --fp16 are two precisions to compute in: leave one of them out"),
        ({"ema_beta": 0.9}, "--ema_beta has no effect: set --enable_ema"),
        ({"enable_ema": True, "ema_beta": 1.0}, "--ema_beta 1.0: set it to a number from 0 to below 1"),
        ({"aux_loss_coef": -0.1}, "--aux_loss_coef -0.1: set it to 0 or more"),
        (
            {"aux_loss_coef": 0.1, "sp_size": 2, "packing_samples": True},
            "--aux_loss_coef 0.1 with --sp_size 2: a process sees the experts of its own slice",
        ),
        (
            {"aux_loss_coef": 0.1, "ring_attn_size": 2, "packing_samples": True},
            "--aux_loss_coef 0.1 with --ring_attn_size 2: a process sees the experts of its own slice",
        ),
    ],
    ids=str,
)
def test_flags_that_cannot_be_are_refused_with_what_to_change(flags: dict[str, Any], complaint: str) -> None:
    assert any(problem.startswith(complaint) for problem in check(RLConfig.create(**BASE | flags)))


@pytest.mark.parametrize("flags", [{}, {"bf16": True}, {"fp16": True}, {"enable_ema": True, "ema_beta": 0.9}], ids=str)
def test_what_can_be_is_not_refused(flags: dict[str, Any]) -> None:
    assert check(RLConfig.create(**BASE | flags)) == []


@pytest.mark.parametrize("flag", ["bf16", "fp16"])
def test_a_precision_that_the_device_lacks_is_refused_before_anything_loads(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_strategy import devices

    monkeypatch.setattr(devices, "computes_in", lambda dtype: False)
    (problem,) = precision_problems(ModelArgs("model", **{flag: True}))
    assert problem.startswith(f"--{flag}: ") and f"leave --{flag} out" in problem
    assert list(precision_problems(ModelArgs("model"))) == []


def test_deepspeed_is_asked_what_it_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    get_accelerator = pytest.importorskip("deepspeed").accelerator.get_accelerator
    for dtypes, refused in (([torch.float32, torch.bfloat16], 1), ([torch.float32, torch.float16], 0)):
        monkeypatch.setattr(get_accelerator(), "supported_dtypes", lambda found=dtypes: found)
        problems = list(precision_problems(ModelArgs("model", fp16=True), zero_stage=2))
        assert len(problems) == refused
        assert all("--fp16 with --zero_stage 2: DeepSpeed does not compute in float16" in each for each in problems)
        assert list(precision_problems(ModelArgs("model", fp16=True))) == []


@pytest.mark.parametrize("command", ["eval", "audit-logprobs", "plan"])
def test_every_command_refuses_two_precisions(lightrft: Callable[..., Any], tiny_folder: Path, command: str) -> None:
    rows = {"prompt_data": "reasoning_gym:chain_sum", "rule_reward": "number"} if command == "eval" else {}
    ended = lightrft(command, "--bf16", "--fp16", pretrain=tiny_folder, **rows)
    assert ended.code == 2
    assert "--bf16 and --fp16 are two precisions" in ended.err

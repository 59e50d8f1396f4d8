"""Runs that train an adapter, or all but what is frozen: they learn, resume exactly, and leave what is promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNING = {"rollout_batch_size": 8, "n_samples_per_prompt": 8, "generate_max_len": 8, "num_episodes": 100}
LORA = {"lora_rank": 8, "lora_alpha": 16.0, "actor_learning_rate": 0.02}


def train(**flags: Any) -> dict[str, Any]:
    from lightrft_apps import RLConfig, train

    return train(RLConfig.create(**flags, progress=False))


def lines(folder: Path) -> list[dict[str, Any]]:
    read = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in read]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """stopped(after, **flags): the run ends, as by Ctrl-C, after so many optimiser steps."""
    from lightrft_strategy.training import TorchStrategy

    def run(after: int, **flags: Any) -> None:
        plain, calls = TorchStrategy.train_step, []

        def counting(*args: Any) -> Any:
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return plain(*args)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(TorchStrategy, "train_step", counting)
            train(**flags)

    return run


def test_an_adapter_learns_what_it_is_rewarded_for_and_is_what_the_run_leaves(
    flags: dict[str, Any], tiny_folder: Path, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    flags |= LEARNING | LORA | {"max_steps": 10, "init_kl_coef": 0.0001, "seed": 1}
    rewards = train(**flags)["rewards"]
    assert sum(rewards[-2:]) / 2 > rewards[0] + 0.25
    final = tmp_path / "run" / "final"
    names = {path.name for path in final.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    said = json.loads((final / "adapter_config.json").read_text())
    assert (said["base_model_name_or_path"], said["r"], said["lora_alpha"]) == (str(tiny_folder), 8, 16.0)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    learnt = PeftModel.from_pretrained(base, str(final)).state_dict()
    checkpoint = next(iter((tmp_path / "run" / "checkpoints").iterdir()))
    masters = [
        (name.removeprefix("master."), tensor)
        for path in checkpoint.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
        if name.startswith("master.")
    ]
    assert len(masters) == 28
    for name, tensor in masters:
        assert ".lora_" in name
        assert torch.equal(learnt[f"base_model.{name}"], tensor)


def test_the_reference_of_an_adapter_is_the_model_it_began_as(flags: dict[str, Any], tmp_path: Path) -> None:
    flags |= LEARNING | {"max_steps": 3, "init_kl_coef": 0.01, "actor_learning_rate": 0.02, "seed": 1}
    train(**flags | {"lora_rank": 8})
    drifts = [line["policy/kl_reference"] for line in lines(tmp_path / "run")]
    assert abs(drifts[0]) < 1e-6, "the policy begins as its own reference"
    assert drifts[2] > 1e-3


@pytest.mark.parametrize("more", [{}, {"bf16": True, "algorithm": "ppo"}], ids=["policy", "bf16 with a critic"])
def test_a_stopped_run_of_an_adapter_goes_on_with_the_same_bits(
    flags: dict[str, Any], stopped: Callable[..., None], tmp_path: Path, more: dict[str, Any]
) -> None:
    flags |= {"lora_rank": 4, "max_steps": 4, "num_episodes": 4, "save_steps": 2, "init_kl_coef": 0.1} | more
    through, again = (flags | {"output_dir": str(tmp_path / name)} for name in ("through", "again"))
    train(**through)
    stopped(5 if more else 3, **again)
    assert [path.name for path in (tmp_path / "again" / "checkpoints").iterdir()] == ["step_2"]
    train(**again)
    assert lines(tmp_path / "again") == lines(tmp_path / "through")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        one, other = ((tmp_path / folder / "final" / name).read_bytes() for folder in ("through", "again"))
        assert one == other, name


def test_an_adapter_is_evaluated_as_it_was_and_so_is_what_it_is_merged_into(
    flags: dict[str, Any], tiny_folder: Path, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    rows = {"prompt_data": flags["prompt_data"], "eval_dataset": flags["prompt_data"]}
    flags |= rows | LORA | {"rule_reward": "number", "max_steps": 2}
    del flags["reward_fn"]
    train(**flags)
    final, merged = tmp_path / "run" / "final", tmp_path / "merged"
    assert lightrft("merge-lora", pretrain=tiny_folder, adapter=final, output=merged).code == 0
    asked = {"prompt_data": flags["prompt_data"], "rule_reward": "number", "generate_max_len": 6}

    def answers(path: Path) -> list[tuple[str, str]]:
        return [(row["prompt_uid"], row["response"]) for row in pq.read_table(path).to_pylist()]

    for folder in (final, merged):
        ended = lightrft("eval", pretrain=folder, output_dir=tmp_path / f"judged_{folder.name}", **asked)
        assert ended.code == 0, ended.err
        found = answers(tmp_path / f"judged_{folder.name}" / "answers.parquet")
        assert found == answers(tmp_path / "run" / "trajectories" / "eval_000002.parquet")


def test_what_is_frozen_is_exported_as_it_was_and_resumes_exactly(
    flags: dict[str, Any], stopped: Callable[..., None], tiny_folder: Path, tmp_path: Path
) -> None:
    prefixes = "model.embed_tokens,model.layers.0."
    flags |= {"freeze_prefix": prefixes, "max_steps": 3, "num_episodes": 4, "save_steps": 1}
    through, again = (flags | {"output_dir": str(tmp_path / name)} for name in ("through", "again"))
    train(**through)
    stopped(2, **again)
    train(**again)
    before = load_file(tiny_folder / "model.safetensors")
    after, other = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("through", "again"))
    assert all(torch.equal(after[name], other[name]) for name in after)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith(tuple(prefixes.split(",")))} != set()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"freeze_prefix": "visual."}, "--freeze_prefix visual.: no parameter's name begins so; some names are model."),
        ({"lora_rank": 2, "target_modules": "q_proj,qkv"}, "--target_modules qkv: the model has no such linear layer"),
    ],
    ids=["prefix", "target"],
)
def test_names_that_the_model_does_not_have_end_the_command_with_some_it_has(
    flags: dict[str, Any], lightrft: Callable[..., Any], wrong: dict[str, Any], message: str
) -> None:
    ended = lightrft("rl", **flags | wrong)
    assert ended.code == 1
    assert message in ended.err
    assert "Traceback" not in ended.err

"""Runs with --load_in_4bit (QLoRA): they learn, resume exactly, and leave what can be merged into what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is one of the extras"),
]

FOUR = {"lora_rank": 8, "lora_alpha": 16.0, "load_in_4bit": True, "bf16": True, "actor_learning_rate": 0.02}


def train(**flags: Any) -> dict[str, Any]:
    from lightrft_apps import RLConfig, train

    return train(RLConfig.create(**flags, progress=False))


def lines(folder: Path) -> list[dict[str, Any]]:
    read = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in read]


def test_an_adapter_on_four_bits_learns_what_it_is_rewarded_for(flags: dict[str, Any], tmp_path: Path) -> None:
    more = {"rollout_batch_size": 8, "n_samples_per_prompt": 8, "generate_max_len": 8, "num_episodes": 100}
    rewards = train(**flags | FOUR | more | {"max_steps": 10, "init_kl_coef": 0.0001, "seed": 1})["rewards"]
    assert sum(rewards[-2:]) / 2 > rewards[0] + 0.25
    drifts = [line["policy/kl_reference"] for line in lines(tmp_path / "run")]
    assert abs(drifts[0]) < 1e-6, "the reference is the same four bits without the adapter"


def test_a_stopped_run_goes_on_with_the_same_bits(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_strategy.training import TorchStrategy

    flags |= FOUR | {"max_steps": 4, "num_episodes": 4, "save_steps": 2, "init_kl_coef": 0.1}
    through, again = (flags | {"output_dir": str(tmp_path / name)} for name in ("through", "again"))
    train(**through)
    plain, calls = TorchStrategy.train_step, []

    def counting(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return plain(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TorchStrategy, "train_step", counting)
        train(**again)
    train(**again)
    assert lines(tmp_path / "again") == lines(tmp_path / "through")
    name = "final/adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()


def test_what_is_merged_or_exported_is_the_model_that_was_trained(
    flags: dict[str, Any], tiny_folder: Path, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from lightrft_strategy.four_bit import quantise
    from lightrft_strategy.lora import add_adapter

    train(**flags | FOUR | {"bf16": False})
    run = tmp_path / "run"
    adapter = run / "final"
    ended = lightrft("merge-lora", "--load_in_4bit", pretrain=tiny_folder, adapter=adapter, output=tmp_path / "merged")
    assert ended.code == 0, ended.err
    ended = lightrft("export", str(run), str(tmp_path / "exported"), "--merge", dtype="float32")
    assert ended.code == 0, ended.err
    merged, exported = (load_file(tmp_path / name / "model.safetensors") for name in ("merged", "exported"))
    assert merged.keys() == exported.keys()
    assert all(torch.equal(merged[name], exported[name]) for name in merged)

    trained = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    quantise(trained, torch.float32)
    add_adapter(trained, rank=8, alpha=16.0)
    learnt = load_file(adapter / "adapter_model.safetensors")
    own = dict(trained.named_parameters())
    for name, value in learnt.items():
        own[name.removeprefix("base_model.model.").replace(".weight", ".default.weight")].data.copy_(value)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    ids = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, trained(ids).logits, rtol=1e-4, atol=1e-4)


def test_without_the_flag_an_adapter_is_added_to_the_model_before_it_was_rounded(
    flags: dict[str, Any], tiny_folder: Path, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    train(**flags | FOUR | {"max_steps": 1})
    for name, more in (("rounded", ["--load_in_4bit"]), ("plain", [])):
        paths = {"pretrain": tiny_folder, "adapter": tmp_path / "run" / "final", "output": tmp_path / name}
        assert lightrft("merge-lora", *more, **paths).code == 0
    rounded, plain = (load_file(tmp_path / name / "model.safetensors") for name in ("rounded", "plain"))
    differ = {name for name in plain if not torch.equal(plain[name], rounded[name])}
    assert differ == {name for name in plain if "proj" in name and "down_proj" not in name}

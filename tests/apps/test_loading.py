"""Where ranks hold shards, none of them has a whole model in memory on the way, and the run is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lightrft_apps.config import ModelArgs
from lightrft_apps.models import compose, loading
from lightrft_core import OneRank
from lightrft_strategy.language import load_language_model
from lightrft_strategy.smollm2 import smollm2
from lightrft_strategy.training.filling import first_layers
from lightrft_strategy.training.meta import empty_language_model
from lightrft_strategy.training.whole import Whole

from ..strategy.training.processes import Processes
from .loading_runs import grown_by_loading, refused, run_of


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Two ranks."""
    group = Processes(2, tmp_path_factory.mktemp("store"))
    yield group
    group.close()


def test_no_rank_holds_more_than_its_share_on_the_way_and_no_copy_is_made_in_float32(
    two: Processes, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    """A model of 26 million weights that are stored, as is usual, in bfloat16."""
    shape = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 32, "vocab_size": 2048}
    model = tiny_model(**shape).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "large", max_shard_size="20MB")
    in_float32 = 4 * sum(weight.numel() for weight in model.parameters())
    del model
    tiny_model(vocab_size=61).save_pretrained(tmp_path / "tiny")
    assert all(right for *_, right in two.run(grown_by_loading, tmp_path / "tiny", False)), (
        "from now on all is imported"
    )
    for first, second, right in two.run(grown_by_loading, tmp_path / "large", False):
        assert right
        assert first < 0.75 * in_float32, "half of it, and what one layer takes"
        assert second < 0.75 * in_float32, "a copy in bfloat16"
    assert all(first > in_float32 for first, *_ in two.run(grown_by_loading, tmp_path / "large", True)), (
        "what is compared is seen"
    )


@pytest.mark.parametrize(
    ("family", "critic", "how", "message"),
    [
        ("Gemma2", False, {}, "Gemma2ForCausalLM does more to its logits than multiply"),
        ("Gemma2", True, {"packing": True}, "Gemma2Model cannot compute packed rows"),
    ],
)
def test_what_cannot_be_computed_is_found_once_the_weights_are_there(
    two: Processes, tmp_path: Path, family: str, critic: bool, how: dict[str, Any], message: str
) -> None:
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 61, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5, "sliding_window": 16}
    config = getattr(transformers, f"{family}Config")(**shape | heads, final_logit_softcapping=2.0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for said in two.run(refused, tmp_path, critic, how):
        assert f"--pretrain {tmp_path}: {message}" in said


def test_rounding_is_not_taken_for_another_result(two: Processes) -> None:
    """Packed rows of SmolLM2 are up to a tenth off in bfloat16, and none in float32, in which they are compared."""
    assert two.run(refused, smollm2(), False, {"packing": True}, True) == ["", ""]


@pytest.mark.parametrize(
    ("layer_types", "looked_at"),
    [(None, 1), (["full_attention", "full_attention", "sliding_attention", "full_attention"], 3)],
)
def test_first_layers_of_every_kind_are_looked_at(
    tmp_path: Path, layer_types: list[str] | None, looked_at: int
) -> None:
    """They are the stored ones."""
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "vocab_size": 61}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 4, "use_sliding_window": True}
    config = transformers.Qwen2Config(**shape | heads, layer_types=layer_types or ["full_attention"] * 4)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    first = first_layers(tmp_path)
    assert len(first.model.layers) == looked_at
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


def pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def quantised(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))


def twice(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def renamed(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name.replace("mlp.", "ffn."): value for name, value in weights.items()}, folder / "model.safetensors")


@pytest.fixture
def stored(tiny_model: Callable[..., Any], tmp_path: Path) -> Path:
    model = tiny_model(tie_word_embeddings=True)
    model.generation_config.temperature = 0.6
    model.generation_config.do_sample = True
    model.save_pretrained(tmp_path / "stored")
    return tmp_path / "stored"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled, "has no weights as safetensors: load this model whole"),
        (quantised, "has a quantization_config: load this model whole"),
        (twice, "has model.embed_tokens.weight and lm_head.weight for model.embed_tokens.weight"),
        (renamed, "has no weight for model.layers.0.mlp.gate_proj.weight"),
    ],
)
def test_what_shards_cannot_be_read_of_is_not_built_without_weights(
    stored: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(stored)
    with pytest.raises(ValueError, match=message):
        empty_language_model(stored)


@pytest.mark.parametrize("more", [{"lora_rank": 4}, {"trust_remote_code": True}, {"fsdp": False}])
def test_runs_whose_models_need_their_numbers_early_load_them_whole(stored: Path, more: dict[str, Any]) -> None:
    for flags, empty in (({}, True), (more, False)):
        model = loading.load_to_hold(run_of(stored, **flags))
        assert all(weight.is_meta == empty for weight in model.parameters())


def test_pickled_weights_are_loaded_whole(stored: Path) -> None:
    pickled(stored)
    assert not any(weight.is_meta for weight in loading.load_to_hold(run_of(stored)).parameters())


@pytest.mark.parametrize(
    ("prepare", "more", "reason"),
    [
        (None, {"lora_rank": 4}, "--lora_rank 4 asks for models with their weights"),
        (
            None,
            {"trust_remote_code": True},
            "--trust_remote_code lets it bring code of its own, which may need its wei",
        ),
        (pickled, {}, "{} has no weights as safetensors: load this model whole"),
        (renamed, {}, "{} has no weight for model.layers.0.mlp.gate_proj.weight, whose shape is "),
        (quantised, {"fsdp": False}, None),
        (None, {"fsdp": False, "lora_rank": 4}, None),
        (None, {}, None),
    ],
)
def test_why_a_model_is_loaded_whole_is_told_before_it_is(
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], None] | None,
    more: dict[str, Any],
    reason: str | None,
) -> None:
    if prepare is not None:
        prepare(stored)
    config, happened = run_of(stored, **more), list[str]()
    monkeypatch.setattr(loading, "load_model", lambda model: happened.append("it is loaded whole"))
    loading.load_to_hold(config, flag="teacher_pretrain", say=happened.append)
    if reason is None:
        assert happened == ["it is loaded whole"] * (not config.parallel.fsdp)
        return
    line, then = happened
    told = f"--teacher_pretrain {stored} is loaded whole on every rank before it is sharded: {reason.format(stored)}"
    assert line.startswith(told) and then == "it is loaded whole"
    assert loading.load_empty(config, config.model) is None and happened[2:] == [then], "a copy to sample from"


def test_that_a_model_sees_is_told_as_the_reason(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(loading, "load_adapter", lambda folder: object())
    monkeypatch.setattr(loading, "load_model", lambda model: None)
    loading.load_to_hold(run_of(stored), say=told.append)
    assert [line.partition("sharded: ")[2] for line in told] == ["models that see or hear are built with their weights"]


def test_a_model_without_weights_knows_all_else_that_a_loaded_one_knows(stored: Path) -> None:
    for keep in (True, False):
        if not keep:
            (stored / "generation_config.json").unlink()
        empty, whole = empty_language_model(stored), load_language_model(stored)
        assert empty.generation_config.to_dict() == whole.generation_config.to_dict()
        assert empty.config.to_dict() == whole.config.to_dict()
        assert empty.name_or_path == whole.name_or_path
        assert empty.get_input_embeddings().weight is empty.get_output_embeddings().weight


def test_a_copy_that_must_be_loaded_is_converted_before_it_takes_room_on_the_device() -> None:
    moved: list[torch.dtype] = []

    class Copy(nn.Linear):
        def to(self, *places: Any) -> Any:
            moved.append(self.weight.dtype)
            return self

    config = run_of(Path("model"))
    config = replace(config, model=ModelArgs("model", bf16=True))
    shards = Whole(nn.Linear(2, 3), None, torch.bfloat16, OneRank())
    replica = compose.replica_of(config, lambda: Copy(2, 3), shards)
    assert moved == [torch.bfloat16]
    assert replica is not None and torch.equal(replica.actor.weight, shards.module.weight)


def launched(words: list[str]) -> str:
    """What two ranks have said."""
    command = [sys.executable, "-m", "lightrft_apps", "launch", "--nproc_per_node=2", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def two_pickled(tiny_folder: Path, tmp_path: Path) -> list[Path]:
    """Folders of a model each that ranks have to load whole."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        shutil.copytree(tiny_folder, folder)
        pickled(folder)
    return folders


def told(said: str) -> list[str]:
    """What was said of models that were loaded whole."""
    return [line for line in said.splitlines() if "loaded whole" in line]


def line_of(flag: str, folder: Path) -> str:
    reason = f"{folder} has no weights as safetensors: load this model whole"
    return f"warning: --{flag} {folder} is loaded whole on every rank before it is sharded: {reason}"


def test_a_run_says_once_of_each_model_that_it_is_loaded_whole(
    flags: dict[str, Any], two_pickled: list[Path], tmp_path: Path
) -> None:
    """Two ranks load the first as policy, as reference and as the copy to sample from."""
    one, other = two_pickled
    chosen = flags | {"pretrain": one, "critic_pretrain": other, "init_kl_coef": 0.1, "advantage_estimator": "gae"}
    said = launched(["rl", "--fsdp", *(f"--{name}={value}" for name, value in chosen.items())])
    assert told(said) == [line_of("pretrain", one), line_of("critic_pretrain", other)]


@pytest.mark.proof
@pytest.mark.parametrize(("command", "data"), [("sft", "dataset"), ("srm", "train_data")])
def test_a_supervised_run_says_so_too(
    two_pickled: list[Path], tiny_model: Callable[..., Any], tmp_path: Path, command: str, data: str
) -> None:
    """The model has an embedding to spare, for a token that a reward model pads with."""
    one, rows = two_pickled[0], tmp_path / "rows.jsonl"
    tiny_model(vocab_size=18, eos_token_id=0).save_pretrained(one)
    pickled(one)
    row = {"input": "1+1=", "output": "2", "prompt": "1+1=", "chosen": "2", "rejected": "33"}
    rows.write_text(8 * (json.dumps(row) + "\n"))
    words = [f"--pretrain={one}", f"--{data}={rows}", f"--output_dir={tmp_path}/run", "--train_batch_size=8"]
    assert told(launched([command, "--fsdp", *words])) == [line_of("pretrain", one)]


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "more",
    [
        ["rl", "--packing_samples", "--init_kl_coef=0.1"],
        ["rl", "--tp_size=2", "--bf16", "--advantage_estimator=gae", "--enable_ema"],
    ],
)
def test_a_run_has_the_bits_of_one_whose_models_are_loaded_whole(
    flags: dict[str, Any], tiny_folder: Path, tmp_path: Path, more: list[str]
) -> None:
    """Pickled weights are loaded whole."""
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    pickled(folder)
    runs = {str(tiny_folder): tmp_path / "shards", str(folder): tmp_path / "whole"}
    numbers, weights = [], []
    for pretrain, run in runs.items():
        chosen = flags | {"pretrain": pretrain, "output_dir": str(run)}
        launched([more[0], "--fsdp", *(f"--{name}={value}" for name, value in chosen.items()), *more[1:]])
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        timed = ("time/", "memory/")
        numbers.append([{name: line[name] for name in line if not name.startswith(timed)} for line in lines])
        weights.append(load_file(run / "final" / "model.safetensors"))
    assert numbers[0] == numbers[1] and len(numbers[0]) > 1
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in ("config.json", "generation_config.json"):
        mine, theirs = (json.loads((run / "final" / name).read_text()) for run in runs.values())
        assert mine == theirs

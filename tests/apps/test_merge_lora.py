"""`lightrft merge-lora`: the folder it writes stands alone, and what does not fit together is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.usefixtures("one_thread")

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run with --lora_rank leaves it, with an adapter that says something."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lightrft_strategy.lora import add_adapter

    folder = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    add_adapter(model, rank=4, alpha=8, seed=2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.double()(input_ids=torch.arange(16)[None]).logits


def test_the_merged_folder_is_a_plain_model_that_answers_as_the_adapter_did(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=adapter, output=tmp_path / "deep" / "merged")
    assert ended.code == 0, ended.err
    assert "merged" in ended.err
    folder = tmp_path / "deep" / "merged"
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert not [path for path in folder.rglob("*") if "adapter" in path.name]
    assert [path.name for path in folder.parent.iterdir()] == ["merged"]
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    expected = logits(PeftModel.from_pretrained(base, str(adapter)))
    found = AutoModelForCausalLM.from_pretrained(folder)
    assert found.dtype == torch.float32
    assert (logits(found) - expected).abs().max() < 1e-5
    plain = logits(AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32))
    assert (plain - expected).abs().max() > 0.1
    assert (
        AutoTokenizer.from_pretrained(folder)("1+2=").input_ids
        == AutoTokenizer.from_pretrained(tiny_folder)("1+2=").input_ids
    )


def test_in_bfloat16_each_weight_is_the_float32_one_rounded_once(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    for name, dtype in (("whole", "float32"), ("half", "bfloat16")):
        ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=adapter, output=tmp_path / name, dtype=dtype)
        assert ended.code == 0, ended.err
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    assert whole.keys() == half.keys()
    assert all(torch.equal(half[name], whole[name].bfloat16()) for name in whole)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_without_a_tokenizer_beside_the_adapter_that_of_the_model_is_taken(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (bare / name).write_bytes((adapter / name).read_bytes())
    assert lightrft("merge-lora", pretrain=tiny_folder, adapter=bare, output=tmp_path / "merged").code == 0
    assert (tmp_path / "merged" / "tokenizer.json").read_bytes() == (tiny_folder / "tokenizer.json").read_bytes()


def test_a_folder_without_an_adapter_is_told_by_the_file_that_is_missing(
    lightrft: Command, tiny_folder: Path, tmp_path: Path
) -> None:
    ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=tiny_folder, output=tmp_path / "merged")
    assert ended.code == 1
    assert f"--adapter {tiny_folder} holds no adapter: adapter_config.json is missing" in ended.err
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_another_model_is_told_by_a_weight_that_differs(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: torch.zeros(3, 3)}, other / "adapter_model.safetensors")
    ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=other, output=tmp_path / "merged")
    assert ended.code == 1
    assert f"--adapter {other} is of another model: {name}" in ended.err
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_overwritten(lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "there"
    if kind == "file":
        there.write_text("kept")
    else:
        there.mkdir()
        (there / "kept").write_text("kept")
    ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=adapter, output=there)
    assert ended.code == 2
    assert "something is there already" in ended.err
    assert (there if kind == "file" else there / "kept").read_text() == "kept"


def test_a_missing_model_and_an_adapter_for_a_model_are_told_before_anything_loads(
    lightrft: Command, adapter: Path, tmp_path: Path
) -> None:
    ended = lightrft("merge-lora", pretrain="./nowhere", adapter=adapter, output=tmp_path / "merged")
    assert (ended.code, "--pretrain ./nowhere: there is no such file or folder" in ended.err) == (2, True)
    ended = lightrft("merge-lora", pretrain=adapter, adapter=adapter, output=tmp_path / "merged")
    assert (ended.code, "this is an adapter, not a whole model" in ended.err) == (2, True)


def test_the_three_places_are_needed(lightrft: Command) -> None:
    ended = lightrft("merge-lora")
    assert ended.code == 2
    assert all(f"--{flag} is needed" in ended.err for flag in ("adapter", "output"))


def test_a_merge_that_is_stopped_while_it_writes_leaves_no_folder(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerFast

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", stop)
    ended = lightrft("merge-lora", pretrain=tiny_folder, adapter=adapter, output=tmp_path / "merged")
    assert ended.code == 130
    assert not (tmp_path / "merged").exists()


def test_a_runs_folder_says_which_adapter_and_the_adapter_says_which_model(
    lightrft: Command, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "run" / "final")
    description = tmp_path / "run" / "final" / "adapter_config.json"
    named = json.loads(description.read_text()) | {"base_model_name_or_path": str(tiny_folder)}
    description.write_text(json.dumps(named))
    ended = lightrft("merge-lora", str(tmp_path / "run"), str(tmp_path / "short"))
    assert ended.code == 0, ended.err
    assert lightrft("merge-lora", pretrain=tiny_folder, adapter=adapter, output=tmp_path / "long").code == 0
    short, long = (load_file(tmp_path / name / "model.safetensors") for name in ("short", "long"))
    assert all(torch.equal(short[name], long[name]) for name in short | long)

    description.write_text(json.dumps(named | {"base_model_name_or_path": None}))
    ended = lightrft("merge-lora", str(tmp_path / "run"), str(tmp_path / "none"))
    assert ended.code == 2 and "--pretrain is needed" in ended.err
    ended = lightrft("merge-lora", str(tmp_path / "nowhere"), str(tmp_path / "none"))
    assert ended.code == 2 and "holds no adapter: adapter_config.json is missing" in ended.err

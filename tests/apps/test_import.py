"""`lightrft import`: another trainer's checkpoint becomes a folder to train on from; what cannot be read is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
]

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def weights(tiny_model: Callable[..., Any]) -> dict[str, torch.Tensor]:
    """Those of a model like the tiny one, by a trainer's names."""
    state = tiny_model(7, vocab_size=16, eos_token_id=0).state_dict()
    return {f"trainer.model.{name}": tensor.clone() for name, tensor in state.items()}


@pytest.fixture(scope="module")
def elsewhere(weights: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch.distributed.checkpoint makes of them in a process by itself."""
    import torch.distributed.checkpoint as dcp

    folder = tmp_path_factory.mktemp("elsewhere") / "step_5"
    dcp.save({"state": weights, "step": 5}, checkpoint_id=folder, no_dist=True)
    return folder


def test_an_imported_checkpoint_is_a_model_that_runs_go_on_from(
    flags: dict[str, Any],
    elsewhere: Path,
    weights: dict[str, torch.Tensor],
    tiny_folder: Path,
    lightrft: Command,
    tmp_path: Path,
) -> None:
    ended = lightrft("import", str(elsewhere), str(tmp_path / "imported"), pretrain=tiny_folder)
    assert (ended.code, "behind 'state.trainer.model.', float32" in ended.err) == (0, True), ended.err
    found = load_file(tmp_path / "imported" / "model.safetensors")
    assert found
    assert all(torch.equal(tensor, weights[f"trainer.model.{name}"]) for name, tensor in found.items())
    assert (tmp_path / "imported" / "tokenizer.json").read_bytes() == (tiny_folder / "tokenizer.json").read_bytes()
    assert lightrft("rl", **flags | {"pretrain": tmp_path / "imported", "max_steps": 1}).code == 0


def test_safetensors_by_themselves_are_imported_too_and_rounded_once(
    weights: dict[str, torch.Tensor], tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    (tmp_path / "fp32").mkdir()
    save_file(weights, tmp_path / "fp32" / "model.safetensors")
    ended = lightrft("import", str(tmp_path / "fp32"), str(tmp_path / "out"), pretrain=tiny_folder, dtype="bfloat16")
    assert ended.code == 0, ended.err
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(tensor, weights[f"trainer.model.{name}"].bfloat16()) for name, tensor in found.items())


def test_what_cannot_be_imported_is_told_and_leaves_nothing(
    elsewhere: Path, tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("import", str(tiny_folder.parent), str(tmp_path / "out"), pretrain=tiny_folder)
    assert (ended.code, "holds no checkpoint that can be read" in ended.err) == (1, True)
    ended = lightrft("import", str(elsewhere), str(tmp_path / "out"), pretrain=tiny_folder, prefix="critic")
    assert (ended.code, "behind 'critic.'" in ended.err) == (1, True)
    ended = lightrft("import", str(elsewhere), str(tmp_path / "out"), pretrain=tiny_folder, prefix="")
    assert (ended.code, "behind ''" in ended.err) == (1, True)
    ended = lightrft("import", str(tmp_path / "gone"), str(tmp_path / "out"), pretrain=tiny_folder)
    assert (ended.code, f"--checkpoint {tmp_path / 'gone'}: there is no such folder" in ended.err) == (2, True)
    ended = lightrft("import", str(elsewhere), str(elsewhere), pretrain=tiny_folder)
    assert (ended.code, "something is there already" in ended.err) == (2, True)
    ended = lightrft("import", str(elsewhere), str(tmp_path / "out"), "more", pretrain=tiny_folder)
    assert (ended.code, "unexpected 'more'" in ended.err) == (2, True)
    assert not (tmp_path / "out").exists()

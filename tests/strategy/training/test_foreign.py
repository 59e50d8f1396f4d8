"""Checkpoints of other trainers, written by the real libraries: their weights are read, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightrft_strategy.foreign import open_foreign, take_weights

from .foreign_runs import Weights, of_dcp, of_deepspeed
from .processes import Processes
from .recorded import language_model

pytestmark = pytest.mark.usefixtures("one_thread")

Groups = Callable[[int], Processes]
Made = tuple[Path, Weights]


def an_untied_model() -> nn.Module:
    return language_model(seed=5, tie_word_embeddings=False, attention_bias=True)


def assert_taken(model: nn.Module, weights: Weights) -> None:
    own = dict(model.named_parameters())
    assert {f"policy.{name}" for name in own} <= weights.keys()
    for name, parameter in own.items():
        assert numpy.array_equal(parameter.detach().numpy(), weights[f"policy.{name}"]), name


ZERO = [(world, stage, bf16) for world in (1, 2) for stage in (1, 2, 3) for bf16 in (False, True)]


@pytest.mark.proof
@pytest.mark.parametrize(("world", "stage", "bf16"), ZERO)
def test_the_masters_of_deepspeed_are_put_together_from_the_shards_of_all_ranks(
    processes: Groups, tmp_path: Path, world: int, stage: int, bf16: bool
) -> None:
    pytest.importorskip("deepspeed")
    weights = processes(world).run(of_deepspeed, stage, bf16, tmp_path)[0]
    model = an_untied_model()
    assert take_weights(model, open_foreign(tmp_path)) == "policy."
    assert_taken(model, weights)
    assert take_weights(an_untied_model(), open_foreign(tmp_path / "global_step2")) == "policy."
    if bf16:
        trained = weights["policy.lm_head.weight"]
        assert not numpy.array_equal(trained, torch.from_numpy(trained).bfloat16().float().numpy())


@pytest.fixture(scope="module")
def of_stage_three(processes: Groups, tmp_path_factory: pytest.TempPathFactory) -> Made:
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("zero")
    return folder, processes(2).run(of_deepspeed, 3, False, folder)[0]


@pytest.fixture
def zero(of_stage_three: Made) -> Path:
    return of_stage_three[0]


def test_weights_in_shards_are_gathered_from_two_ranks(of_stage_three: Made) -> None:
    model = an_untied_model()
    take_weights(model, open_foreign(of_stage_three[0]))
    assert_taken(model, of_stage_three[1])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("zero_pp_rank_1_mp_rank_00_optim_states.pt", r"lacks the shards .* of ranks \[1\] of 2"),
        ("zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt is missing"),
    ],
)
def test_an_absent_file_of_deepspeed_is_named(zero: Path, tmp_path: Path, file: str, message: str) -> None:
    shutil.copytree(zero / "global_step2", tmp_path / "copy")
    (tmp_path / "copy" / file).unlink()
    with pytest.raises(ValueError, match=message):
        open_foreign(tmp_path / "copy")


def test_a_damaged_file_of_deepspeed_is_named(zero: Path, tmp_path: Path) -> None:
    shutil.copytree(zero / "global_step2", tmp_path / "copy")
    path = tmp_path / "copy" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        open_foreign(tmp_path / "copy")


def test_the_loss_scale_of_a_run_in_float16_is_no_hindrance(zero: Path, tmp_path: Path) -> None:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    shutil.copytree(zero / "global_step2", tmp_path / "copy")
    path = tmp_path / "copy" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    content = torch.load(path, weights_only=False)
    content["optimizer_state_dict"]["loss_scaler"] = DynamicLossScaler(2.0**16, 1000, 1.0, 2, False)
    torch.save(content, path)
    assert open_foreign(tmp_path / "copy").shapes == open_foreign(zero).shapes


class Trap:
    """What does something when it is unpickled: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_file_of_deepspeed_that_holds_more_than_tensors_is_not_run_and_its_own_script_named(
    zero: Path, tmp_path: Path
) -> None:
    shutil.copytree(zero / "global_step2", tmp_path / "copy")
    path = tmp_path / "copy" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    content = torch.load(path, weights_only=False)
    torch.save(content | {"trap": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(ValueError, match=r"\(posix\.mkdir\).*zero_to_fp32\.py") as refused:
        open_foreign(tmp_path / "copy")
    assert str(path) in str(refused.value)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="module")
def dcp(processes: Groups, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("dcp") / "step"
    return folder, processes(2).run(of_dcp, folder)[0]


def test_the_shards_of_dcp_are_put_together_beside_an_optimiser_and_other_things(dcp: Made) -> None:
    folder, weights = dcp
    model = language_model(seed=5)
    assert take_weights(model, open_foreign(folder)) == "model.policy."
    assert_taken(model, weights)
    assert not any("rng" in name for name in open_foreign(folder).shapes if name.startswith("model."))


def test_one_process_reads_what_one_process_wrote(processes: Groups, tmp_path: Path) -> None:
    weights = processes(1).run(of_dcp, tmp_path / "one")[0]
    model = language_model(seed=5)
    take_weights(model, open_foreign(tmp_path / "one"), "model.policy")
    assert_taken(model, weights)


def test_a_list_of_contents_that_would_run_something_is_refused_by_what_it_asks_for(dcp: Made, tmp_path: Path) -> None:
    shutil.copytree(dcp[0], tmp_path / "copy")
    metadata = tmp_path / "copy" / ".metadata"
    metadata.write_bytes(pickle.dumps({"state_dict_metadata": Trap(tmp_path / "sprung")}))
    with pytest.raises(ValueError, match=r"\.metadata asks for posix\.mkdir"):
        open_foreign(tmp_path / "copy")
    assert not (tmp_path / "sprung").exists()


def test_a_list_of_contents_may_not_name_files_elsewhere(dcp: Made, tmp_path: Path) -> None:
    shutil.copytree(dcp[0], tmp_path / "copy")
    metadata = tmp_path / "copy" / ".metadata"
    content = pickle.loads(metadata.read_bytes())
    for place in content.storage_data.values():
        place.relative_path = "../" + place.relative_path
    metadata.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"names \.\./__\d_\d\.distcp, outside of its folder"):
        open_foreign(tmp_path / "copy")


@pytest.mark.parametrize("cut", [1, 40000])
def test_a_damaged_file_of_dcp_is_named(dcp: Made, tmp_path: Path, cut: int) -> None:
    shutil.copytree(dcp[0], tmp_path / "copy")
    path = tmp_path / "copy" / "__1_0.distcp"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=f"{path} is cut off"):
        foreign = open_foreign(tmp_path / "copy")
        for name in foreign.shapes:
            foreign.read(name)
    (tmp_path / "copy" / ".metadata").write_bytes(b"\x80\x04}.")
    with pytest.raises(ValueError, match=r"\.metadata is damaged"):
        open_foreign(tmp_path / "copy")


class Given:
    """A checkpoint of these tensors."""

    kind = "given"

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def read(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def state(seed: int) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in language_model(seed=seed).state_dict().items() if name != "lm_head.weight"}


def test_of_several_models_in_a_checkpoint_the_one_that_is_named_is_taken() -> None:
    models = {"actor": state(0), "old": state(1)}
    tensors = {f"{who}.{name}": tensor for who in models for name, tensor in models[who].items()}
    model = language_model(seed=9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"set --prefix to one of 'actor.', 'old.'"):
        take_weights(model, Given(tensors))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "nothing is changed"
    take_weights(model, Given(tensors), "old")
    assert all(torch.equal(tensor, state(1)[name]) for name, tensor in model.named_parameters())


def test_of_a_model_and_its_average_the_one_with_nothing_before_its_names_can_be_named() -> None:
    tensors = state(0) | {f"average.{name}": tensor for name, tensor in state(1).items()}
    model = language_model(seed=9)
    with pytest.raises(ValueError, match=r"set --prefix to one of '', 'average.'"):
        take_weights(model, Given(tensors))
    assert take_weights(model, Given(tensors), "") == ""
    assert all(torch.equal(tensor, state(0)[name]) for name, tensor in model.named_parameters())


def test_weights_that_the_model_ties_and_the_checkpoint_does_not_are_refused() -> None:
    model, head = language_model(seed=9), state(3)["model.embed_tokens.weight"].clone()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"model.embed_tokens.weight and lm_head.weight are one weight in the model"):
        take_weights(model, Given(state(3) | {"lm_head.weight": head + 1}))
    with pytest.raises(ValueError, match=r"lm_head.weight has the shape \[3\]"):
        take_weights(model, Given(state(3) | {"lm_head.weight": torch.ones(3)}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "nothing is changed"
    assert take_weights(model, Given(state(3) | {"lm_head.weight": head})) == ""
    assert torch.equal(model.lm_head.weight, head)


def test_what_wrappers_put_into_names_is_no_part_of_them() -> None:
    within = ".layers.0._checkpoint_wrapped_module."
    tensors = {f"_orig_mod.{name.replace('.layers.0.', within)}": tensor for name, tensor in state(3).items()}
    model = language_model(seed=9)
    assert take_weights(model, Given(tensors)) == ""
    assert all(torch.equal(tensor, state(3)[name]) for name, tensor in model.named_parameters())


def test_a_weight_that_is_missing_or_of_another_shape_is_named_and_nothing_changes() -> None:
    model = language_model(seed=9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = state(3)
    missing = {name: tensor for name, tensor in tensors.items() if name != "model.norm.weight"}
    with pytest.raises(ValueError, match=r"it has no model.norm.weight of LlamaForCausalLM behind ''"):
        take_weights(model, Given(missing))
    with pytest.raises(ValueError, match=r"model.norm.weight has the shape \[3\], and \[32\] in the model"):
        take_weights(model, Given(tensors | {"model.norm.weight": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"it has no model.embed_tokens.weight of LlamaForCausalLM; it has a, b"):
        take_weights(model, Given({"a": torch.zeros(1), "b": torch.zeros(1)}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_is_no_checkpoint_of_others_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no checkpoint that can be read: neither \.metadata"):
        open_foreign(tmp_path)
    (tmp_path / "latest").write_text("global_step7")
    with pytest.raises(ValueError, match="names 'global_step7', and there is no such folder"):
        open_foreign(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="use lightrft export"):
        open_foreign(tmp_path)


def test_a_folder_is_taken_for_a_run_of_ours_by_a_checkpoint_of_ours_alone(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "step_3"
    checkpoint.mkdir(parents=True)
    save_file(state(3), tmp_path / "model.safetensors")
    assert open_foreign(tmp_path).shapes.keys() == state(3).keys()
    (checkpoint / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="use lightrft export"):
        open_foreign(tmp_path)

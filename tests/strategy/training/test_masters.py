"""One process takes the weights out of a checkpoint that any number of ranks wrote in any layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from lightrft_core import OneRank
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training.checkpoint import save_tensors
from lightrft_strategy.training.masters import load_masters

from .processes import Processes
from .recorded import Case, a_batch, build, language_model, plain_loss, weights

pytestmark = pytest.mark.usefixtures("one_thread")

Groups = Callable[[int], Processes]


def saved(case: Case, folder: Path) -> dict[str, numpy.ndarray]:
    """The weights after a step, which is saved."""
    strategy = build(case)
    assert strategy.train_step("policy", [a_batch(strategy.rank)], plain_loss).fault == ""
    strategy.save(folder)
    return weights(strategy)


@pytest.mark.parametrize(
    ("hold", "world"),
    [
        ("fsdp2", 2),
        ("ddp", 2),
        pytest.param("zero 3", 2, marks=pytest.mark.proof),
        pytest.param("fsdp2", 4, marks=pytest.mark.proof),
    ],
)
def test_the_weights_of_ranks_are_those_of_the_plain_module(
    processes: Groups, tmp_path: Path, hold: str, world: int
) -> None:
    if hold.startswith("zero"):
        pytest.importorskip("deepspeed")
    expected = processes(world).run(saved, Case(hold, "float32"), tmp_path / "step")[0]
    actor = LanguageActor(language_model(seed=8))
    assert load_masters(actor, tmp_path / "step" / "policy") == []
    found = dict(actor.named_parameters())
    assert found.keys() == expected.keys()
    assert all(numpy.array_equal(found[name].detach().numpy(), expected[name]) for name in expected)


def test_weights_that_were_not_trained_stay_and_are_named(tmp_path: Path) -> None:
    module = torch.nn.ModuleDict({"taught": torch.nn.Linear(2, 3), "kept": torch.nn.Linear(3, 1)})
    kept = module["kept"].weight.detach().clone()
    tensors = {"master.taught.weight": torch.ones(3, 2), "adam.exp_avg.taught.weight": torch.zeros(3, 2)}
    save_tensors(tmp_path, tensors | {"ema.taught.weight": torch.full((3, 2), 2.0)}, {}, OneRank())
    assert load_masters(module, tmp_path) == ["taught.bias", "kept.weight", "kept.bias"]
    assert module["taught"].weight.eq(1).all()
    assert module["kept"].weight.equal(kept)
    load_masters(module, tmp_path, "ema.")
    assert module["taught"].weight.eq(2).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("master.other", "holds other, which the model lacks"),
        ("master.weight", r"holds weight of shape \[3, 2\], which is \[1, 2\] in the model"),
        ("adam.exp_avg.weight", r"holds no weights named master\.\*"),
    ],
)
def test_weights_of_another_model_are_named_and_nothing_changes(tmp_path: Path, name: str, message: str) -> None:
    save_tensors(tmp_path, {name: torch.ones(3, 2)}, {}, OneRank())
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        load_masters(module, tmp_path)
    assert module.weight.equal(before)

"""What is frozen stays bit by bit; a prefix that freezes nothing, or everything, is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightrft_core import Batch, Metrics, TrainingSequence, collate
from lightrft_strategy.freezing import freeze
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.lora import add_adapter
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

pytestmark = pytest.mark.usefixtures("one_thread")


def frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def step(model: Any) -> set[str]:
    """The parameters that one optimiser step changes."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {"policy": OptimiserConfig(1e-2, 5)})
    numbers = torch.ones(2)
    batch = collate([TrainingSequence((1, 2), [i, i + 1], [True] * 2, 1.0, numbers, numbers) for i in range(4)])

    def loss(output: Any, batch: Batch) -> tuple[torch.Tensor, Metrics]:
        return -output.logprobs.mean(), Metrics()

    strategy.train_step("policy", [batch], loss)
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


@given(chosen=st.lists(st.sampled_from(["model.embed", "model.layers.0.", "model.layers.1.mlp.up", "lm"]), min_size=1))
def test_exactly_the_parameters_that_begin_so_are_frozen(tiny_model, chosen: list[str]) -> None:
    model = tiny_model()
    freeze(model, chosen)
    names = {name for name, _ in model.named_parameters()}
    assert frozen(model) == {name for name in names if any(name.startswith(prefix) for prefix in chosen)}


def test_a_step_changes_all_but_what_is_frozen(tiny_model) -> None:
    model = tiny_model()
    freeze(model, ["model.embed_tokens", "model.layers.0."])
    assert step(model) == {name for name, _ in model.named_parameters()} - frozen(model) != set()
    assert "model.layers.1.mlp.up_proj.weight" not in frozen(model)


@pytest.mark.parametrize("name", ["lm_head", "model.embed_tokens"])
def test_tied_weights_are_frozen_by_either_name(tiny_model, name: str) -> None:
    model = tiny_model(tie_word_embeddings=True)
    freeze(model, [name])
    assert frozen(model) == {"model.embed_tokens.weight"}


def test_a_prefix_of_nothing_is_named_with_some_names_there_are_and_nothing_is_frozen(tiny_model) -> None:
    model = tiny_model()
    with pytest.raises(
        ValueError, match=r"^visual\.: no .* some names are model\.embed_tokens\.weight, model\."
    ) as told:
        freeze(model, ["model.layers.0.", "visual."])
    assert frozen(model) == set()
    assert str(told.value).count(",") == 4


def test_freezing_everything_is_refused(tiny_model) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match=r"^model,lm_head: nothing would be left to train"):
        freeze(model, ["model", "lm_head"])
    assert frozen(model) == set()


def test_an_adapter_under_a_prefix_is_frozen_too_and_the_model_under_it_stays_so(tiny_model) -> None:
    model = tiny_model()
    add_adapter(model, rank=2, alpha=2)
    freeze(model, ["model.layers.0."])
    changed = step(model)
    assert changed
    assert all(name.startswith("model.layers.1.") and ".lora_" in name for name in changed)
    names = [name for name, _ in model.named_parameters()]
    assert frozen(model) == {name for name in names if ".lora_" not in name or name.startswith("model.layers.0.")}

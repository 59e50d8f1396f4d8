"""Linear layers that compute from laid-out copies of their weights."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from lightrft_strategy.engines.laid_out import laid_out


def layers(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 160, bias=False), nn.Linear(160, 32)).to(dtype)


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.inference_mode()
def test_laid_out_layers_say_what_they_say_plainly(rows, dtype):
    model, states = layers(dtype), torch.randn(rows, 96).to(dtype)
    exact = layers(dtype).double()
    with laid_out(model, 16):
        laid = model(states)
    assert laid.dtype == dtype
    bound = 4 * torch.finfo(dtype).eps
    assert (laid.double() - exact(states.double())).norm() <= bound * exact(states.double()).norm()


@torch.inference_mode()
def test_weights_that_change_later_are_read_on_the_next_entry():
    model, states = layers(torch.bfloat16), torch.ones(3, 96).bfloat16()
    with laid_out(model, 3):
        before = model(states)
    model[1].bias.add_(1)
    model[0].weight.neg_()
    with laid_out(model, 3):
        after = model(states)
    assert torch.allclose(after, model(states), atol=2e-2)
    assert not torch.allclose(after, before, atol=0.5)


class Attention(nn.Module):
    """Three layers by the names of siblings; `asked` is in which order."""

    def __init__(self, biased: str = "qkv", asked: str = "qkv") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.asked = asked
        for name, size in (("q", 48), ("k", 16), ("v", 16)):
            setattr(self, f"{name}_proj", nn.Linear(96, size, bias=name in biased))

    def forward(self, *inputs):
        by_name = [(name, states) for states in inputs for name in self.asked]
        return [getattr(self, f"{name}_proj")(states) for name, states in by_name]


def as_one(model: Attention) -> nn.Linear:
    """The siblings' weights, one after the other, in a layer of their own."""
    layers = [getattr(model, f"{name}_proj") for name in "qkv"]
    one = nn.Linear(96, 80, bias=layers[0].bias is not None)
    one.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
    if one.bias is not None:
        one.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
    return one


@pytest.mark.parametrize("asked", ["qkv", "vkq", "qk", "qqv", "qkvqkv"])
@pytest.mark.parametrize("biased", ["qkv", ""])
@torch.inference_mode()
def test_siblings_say_the_bits_of_the_one_layer_that_they_make(biased, asked):
    model, states = Attention(biased, asked).bfloat16(), torch.randn(3, 2, 5, 96).bfloat16()
    one = nn.Sequential(as_one(model))
    with laid_out(model, 5), laid_out(one, 5):
        together = model(*states)
        parts = [dict(zip("qkv", one(each).split([48, 16, 16], -1), strict=True)) for each in states]
    wanted = [part[name] for part in parts for name in asked]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(together, wanted, strict=True))


@pytest.mark.parametrize("biased", ["qkv", "", "q"])
@torch.inference_mode()
def test_siblings_say_what_they_say_plainly(biased):
    """Also where only some have a bias, so that they are no one layer."""
    model, states = Attention(biased).bfloat16(), torch.randn(4, 96).bfloat16()
    with laid_out(model, 4):
        together = model(states)
    exact = model.double()(states.double())
    bound = 4 * torch.finfo(torch.bfloat16).eps
    for mine, true in zip(together, exact, strict=True):
        assert (mine.double() - true).norm() <= bound * true.norm()


@torch.inference_mode()
def test_siblings_that_read_different_inputs_each_read_their_own():
    model, (one, other) = Attention().bfloat16(), torch.randn(2, 5, 96).bfloat16()
    with laid_out(model, 5):
        crossed = model.q_proj(one), model.k_proj(other), model.v_proj(one)
        (query, _, value), (_, key, _) = model(one), model(other)
    assert all(torch.equal(*pair) for pair in zip(crossed, (query, key, value), strict=True))


@torch.inference_mode()
def test_siblings_read_an_input_that_has_changed_since():
    model, states = Attention().bfloat16(), torch.ones(2, 96).bfloat16()
    with laid_out(model, 2):
        before = model(states)
        states.neg_()
        after = model(states)
    assert not any(torch.allclose(one, other, atol=0.1) for one, other in zip(before, after, strict=True))


@torch.inference_mode()
def test_nothing_of_what_siblings_computed_is_kept_once_each_has_its_part():
    model, states = Attention().bfloat16(), torch.ones(2, 96).bfloat16()
    with laid_out(model, 2):
        kept = [weakref.ref(tensor) for tensor in (*model(states), states)]
        del states
        assert not any(tensor() is not None for tensor in kept)


def test_afterwards_layers_are_as_they_were_even_after_an_error():
    model = layers(torch.bfloat16)
    with pytest.raises(RuntimeError, match="could not"), laid_out(model, 2):
        assert all("forward" in vars(layer) for layer in model)
        model(torch.ones(2, 5).bfloat16())
    assert not any("forward" in vars(layer) for layer in model)
    model(torch.ones(2, 96).bfloat16()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_layer_whose_forward_somebody_else_has_replaced_keeps_that():
    model = layers(torch.bfloat16)
    theirs = model[0].forward = lambda states: states.new_ones(len(states), 160)
    with laid_out(model, 2):
        assert model[0].forward is theirs
    assert model[0].forward is theirs


def test_layers_in_float32_are_left_alone():
    model = layers(torch.float32)
    with laid_out(model, 2):
        assert not any("forward" in vars(layer) for layer in model)

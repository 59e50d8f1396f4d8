"""Linear layers that compute from laid-out copies of their weights."""

from __future__ import annotations

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

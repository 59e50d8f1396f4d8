"""Weights in four bits: which numbers they stand for, what adapters on them learn, and that they never change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightrft_core import Batch, Metrics, PolicyOutput, TrainingSequence, collate
from lightrft_strategy.four_bit import quantise, round_to_four_bits, state_of
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.lora import add_adapter, merged, merged_state
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.arange(40).view(2, 20) * 7 % 300
NORMAL_FLOATS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The 16 numbers (Dettmers et al. 2023, appendix E)."""
BLOCK = 64
"""Weights in a row that share a scale."""


def in_four_bits(tiny_model, dtype: torch.dtype = torch.float32) -> Any:
    """A model in 4 bits with an adapter that says something."""
    model = tiny_model()
    quantise(model, dtype)
    return adapted(model)


def rounded(tiny_model) -> Any:
    """The same in floating point."""
    model = tiny_model()
    round_to_four_bits(model)
    return adapted(model)


def adapted(model: Any) -> Any:
    add_adapter(model, rank=4, alpha=6, seed=1)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


def layers_of(model: Any) -> dict[str, nn.Linear]:
    """Those that 4 bits are for: down_proj has rows of 96 weights, which are no whole blocks."""
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    return {name: one for name, one in layers.items() if "proj" in name and "down_proj" not in name}


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def gradients(model: Any) -> dict[str, Tensor]:
    """Of all that can be trained, for a loss that asks every token."""
    model.zero_grad()
    found = model(input_ids=IDS, labels=IDS)
    found.loss.backward()
    return {name: one.grad.double() for name, one in model.named_parameters() if one.grad is not None}


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest distance of two gradients, as a share of the gradient's own length."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - value).norm() / value.norm()) for name, value in expected.items())


def test_every_weight_becomes_the_nearest_normal_float_times_its_blocks_largest(tiny_model) -> None:
    plain, small = tiny_model(), tiny_model()
    quantise(small, torch.float32)
    found, table = state_of(small), torch.tensor(NORMAL_FLOATS, dtype=torch.float64)
    assert found.keys() == plain.state_dict().keys()
    for name, layer in layers_of(plain).items():
        blocks = layer.weight.detach().double().view(-1, BLOCK)
        scales = blocks.abs().amax(1, keepdim=True)
        nearest = table[((blocks / scales)[..., None] - table).abs().argmin(-1)]
        held = found[f"{name}.weight"].double().view(-1, BLOCK)
        own = held.abs().amax(1, keepdim=True)
        torch.testing.assert_close(held / own, nearest, rtol=0, atol=1e-6)
        assert float((own / scales - 1).abs().max()) < 0.05, "eight bits hold a block's scale"
    linear = {f"{name}.weight" for name in layers_of(plain)}
    assert len(linear) == 2 * 6
    assert all(torch.equal(found[name], value) for name, value in plain.state_dict().items() if name not in linear)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7)], ids=str)
def test_a_layer_computes_with_the_numbers_that_its_bits_stand_for(
    tiny_model, dtype: torch.dtype, tolerance: float
) -> None:
    small = tiny_model()
    quantise(small, dtype)
    weights = state_of(small)
    for name, layer in layers_of(small).items():
        x = torch.randn(3, 5, layer.in_features, generator=torch.Generator().manual_seed(1))
        expected = x.double() @ weights[f"{name}.weight"].double().T
        for learning in (True, False):
            small.train(learning)
            with torch.set_grad_enabled(learning):
                found = layer(x).double()
            assert float((found - expected).detach().norm() / expected.norm()) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-8)], ids=str)
def test_adapters_get_the_gradients_they_get_on_the_same_numbers_in_floating_point(
    tiny_model, dtype: torch.dtype, tolerance: float
) -> None:
    small, whole = in_four_bits(tiny_model, dtype), rounded(tiny_model)
    for name, layer in layers_of(whole).items():
        if ".lora_" in name:
            layer.to(dtype)
        elif name.endswith(".base_layer"):
            layer.forward = multiplying_in(dtype, layer.weight.detach())
    expected = gradients(whole)
    assert len(expected) == 2 * 7 * 2
    assert furthest(gradients(small), expected) < tolerance


def multiplying_in(dtype: torch.dtype, weight: Tensor) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return (x.to(dtype) @ weight.to(dtype).T).to(x.dtype)

    return forward


def test_sampling_between_two_steps_changes_no_bit_of_what_is_learnt(tiny_model) -> None:
    model = in_four_bits(tiny_model, torch.bfloat16)
    before = gradients(model.train())
    first = logits(model.eval())
    assert torch.equal(first, logits(model.eval()))
    for learning in (True, False):
        after = gradients(model.train(learning))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("options", [{}, {"bf16": True}], ids=["float32", "bfloat16"])
def test_what_is_in_four_bits_never_changes_and_an_adapter_on_it_learns(tiny_model, options: dict[str, Any]) -> None:
    model = tiny_model()
    quantise(model, torch.bfloat16 if options else torch.float32)
    add_adapter(model, rank=4, alpha=6, seed=1)
    adapter = (".lora_A.", ".lora_B.")

    def state() -> dict[str, list[Any]]:
        return {name: value.tolist() for name, value in model.state_dict().items()}

    strategy = TorchStrategy({"policy": LanguageActor(model)}, {"policy": OptimiserConfig(1e-2, 20)}, **options)
    before = state()
    reports = [strategy.train_step("policy", [batch(10, 20), batch(30)], likelier) for _ in range(6)]
    logits(model)
    after = state()
    assert reports[-1].loss < reports[0].loss - 0.1
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if any(part in name for part in adapter)} != set()


def batch(*answers: int) -> Batch:
    numbers = torch.zeros(4)
    rows = [[answer, answer + 1, 3, answer + 5] for answer in answers]
    return collate([TrainingSequence((1, 2, 3), row, [True] * 4, 1.0, numbers + 1.0, numbers) for row in rows])


def likelier(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
    return -(output.logprobs * batch.advantages).mean(), Metrics()


def test_the_sum_is_the_model_that_was_trained_and_not_the_one_before_it_was_rounded(
    tiny_model, tmp_path: Path
) -> None:
    small = in_four_bits(tiny_model)
    whole = tiny_model()
    whole.load_state_dict(merged_state(small))
    torch.testing.assert_close(logits(whole), logits(small), rtol=1e-4, atol=1e-4)
    small.save_pretrained(tmp_path)
    base = tiny_model()
    round_to_four_bits(base)
    torch.testing.assert_close(logits(merged(base, tmp_path)), logits(small), rtol=1e-4, atol=1e-4)
    unrounded = logits(merged(tiny_model(), tmp_path))
    assert float((unrounded - logits(small)).abs().max()) > 0.1


def test_merged_weights_are_in_the_precision_of_the_models_other_weights(tiny_model) -> None:
    small = in_four_bits(tiny_model, torch.bfloat16)
    for parameter in small.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.bfloat16()
    assert {value.dtype for value in merged_state(small).values()} == {torch.bfloat16}

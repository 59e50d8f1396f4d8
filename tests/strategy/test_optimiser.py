"""AdamW over float32 masters, against torch's AdamW, its paper's formula, and plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightrft_strategy.optimiser import MasterOptimiser, OptimiserConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed: int = 0, width: int = 5) -> nn.Module:
    """Matrices, which decay, and vectors, which do not."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 2))


def set_gradients(parameters: Iterable[nn.Parameter], seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator).to(parameter)


def take_step(optimiser: MasterOptimiser, seed: int) -> None:
    """One step on gradients made from a seed."""
    set_gradients(optimiser.working.values(), seed)
    optimiser.attempts += 1
    optimiser.gather_gradients()
    assert optimiser.step()[1] == ""
    optimiser.clear()


def masters(optimiser: MasterOptimiser) -> list[Tensor]:
    return [master.detach().clone() for master in optimiser.masters.values()]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


CONFIG = OptimiserConfig(3e-3, total_steps=100, weight_decay=0.1, max_norm=0)


def test_steps_are_those_of_torchs_adamw_on_a_plain_copy() -> None:
    optimiser, copy = MasterOptimiser(network(), CONFIG, torch.float32), network()
    matrices = [p for p in copy.parameters() if p.ndim == 2]
    vectors = [p for p in copy.parameters() if p.ndim == 1]
    plain = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0}],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    for seed in range(5):
        take_step(optimiser, seed)
        set_gradients(copy.parameters(), seed)
        plain.step()
        for mine, reference in zip(masters(optimiser), copy.parameters(), strict=True):
            torch.testing.assert_close(mine, reference.detach(), rtol=1e-6, atol=1e-7)


def test_steps_are_loshchilov_and_hutters_formula_in_float64() -> None:
    optimiser = MasterOptimiser(network(), CONFIG, torch.float32)
    weights = [w.double() for w in masters(optimiser)]
    first, second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    model = network()
    for t in range(1, 6):
        take_step(optimiser, t)
        set_gradients(model.parameters(), t)
        for i, gradient in enumerate(parameter.grad.double() for parameter in model.parameters()):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.95 * second[i] + 0.05 * gradient**2
            decay = 0.1 if gradient.ndim == 2 else 0.0
            update = (first[i] / (1 - 0.9**t)) / ((second[i] / (1 - 0.95**t)).sqrt() + 1e-8)
            weights[i] = weights[i] - 3e-3 * (update + decay * weights[i])
    for mine, expected in zip(masters(optimiser), weights, strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 50.0])
@pytest.mark.parametrize("max_norm", [0.0, 1.0, 7.0])
def test_gradients_are_clipped_by_the_norm_of_all_of_them_together(scale: float, max_norm: float) -> None:
    model = network()
    optimiser = MasterOptimiser(model, OptimiserConfig(1e-3, 10, max_norm=max_norm), torch.float32)
    set_gradients(model.parameters(), 1, scale)
    whole = torch.cat([p.grad.flatten().double() for p in model.parameters()])
    optimiser.attempts = 1
    optimiser.gather_gradients()
    norm, _ = optimiser.step()
    assert norm == pytest.approx(float(whole.norm()), rel=1e-6)
    factor = min(1.0, max_norm / float(whole.norm())) if max_norm else 1.0
    clipped = torch.cat([gradient.flatten().double() for gradient in optimiser.gradients().values()])
    torch.testing.assert_close(clipped, whole * factor, rtol=1e-5, atol=1e-12)


def rates(steps: int, **settings) -> list[float]:
    config = OptimiserConfig(2.0, **settings)
    return [config.learning_rate_at(step) for step in range(1, steps + 1)]


def test_the_warm_up_rises_linearly_to_the_peak() -> None:
    assert rates(6, total_steps=10, warmup_ratio=0.4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    for schedule in ("constant", "linear", "cosine"):
        assert rates(1, total_steps=7, schedule=schedule) == [2.0]


def test_linear_and_cosine_fall_from_the_peak_to_zero_after_the_last_step() -> None:
    assert rates(5, total_steps=4, schedule="linear") == pytest.approx([2.0, 1.5, 1.0, 0.5, 0.0])
    half = [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5), 0.0]
    assert rates(5, total_steps=4, schedule="cosine") == pytest.approx(half, abs=1e-12)
    assert rates(7, total_steps=6, schedule="linear", warmup_ratio=1 / 3) == pytest.approx([1, 2, 2, 1.5, 1, 0.5, 0])


@given(
    total=st.integers(1, 300),
    warmup_ratio=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
)
def test_every_step_of_a_run_learns_and_none_exceeds_the_peak(total, warmup_ratio, schedule) -> None:
    curve = rates(total, total_steps=total, warmup_ratio=warmup_ratio, schedule=schedule)
    assert all(0 < rate <= 2.0 for rate in curve)
    peak = curve.index(max(curve))
    assert curve[: peak + 1] == sorted(curve[: peak + 1])
    assert curve[peak:] == sorted(curve[peak:], reverse=True)
    assert all(rate >= 0 for rate in rates(total + 3, total_steps=total, schedule=schedule)[total:])


def test_a_steps_learning_rate_is_that_of_its_number() -> None:
    config = OptimiserConfig(1e-2, total_steps=4, schedule="linear", max_norm=0)
    optimiser = MasterOptimiser(nn.Linear(1, 1, bias=False), config, torch.float32)
    moved = []
    for _ in range(4):
        before = masters(optimiser)[0]
        optimiser.working["weight"].grad = torch.ones(1, 1)
        optimiser.attempts += 1
        optimiser.gather_gradients()
        optimiser.step()
        optimiser.clear()
        moved.append(float(before - masters(optimiser)[0]))
    assert moved == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3], rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_moves(bad: float) -> None:
    model = network()
    optimiser = MasterOptimiser(model, CONFIG, torch.float32)
    take_step(optimiser, 0)
    before = masters(optimiser)
    moments = [value.clone() for state in optimiser.adam.state.values() for value in state.values()]
    set_gradients(model.parameters(), 1)
    model[2].weight.grad[0, 0] = bad
    optimiser.gather_gradients()
    norm, fault = optimiser.step()
    assert not math.isfinite(norm)
    assert fault == "the gradient of 2.weight is not finite"
    assert same_bits(masters(optimiser), before)
    assert same_bits([value for state in optimiser.adam.state.values() for value in state.values()], moments)


def test_bfloat16_computes_in_copies_of_float32_masters() -> None:
    model = network()
    originals = [p.detach().clone() for p in model.parameters()]
    optimiser = MasterOptimiser(model, CONFIG, torch.bfloat16)
    assert same_bits(masters(optimiser), originals), "what bfloat16 cannot hold stays in the masters"
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    take_step(optimiser, 0)
    for master, parameter in zip(masters(optimiser), model.parameters(), strict=True):
        assert master.dtype == torch.float32
        assert torch.equal(parameter, master.bfloat16())
    for state in optimiser.adam.state.values():
        assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.float32


def test_gradients_of_bfloat16_micro_batches_are_added_up_in_float32() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimiser = MasterOptimiser(model, CONFIG, torch.bfloat16)
    for gradient in (1.0, *[2**-9] * 3):
        model.weight.grad = torch.full((1, 1), gradient, dtype=torch.bfloat16)
        optimiser.gather_gradients()
        assert model.weight.grad is None
    assert optimiser.gradients()["weight"].item() == 1 + 3 * 2**-9


def test_updates_too_small_for_bfloat16_survive_until_they_show() -> None:
    def one() -> nn.Linear:
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        return model

    model, steps = one(), 2500
    optimiser = MasterOptimiser(model, OptimiserConfig(1e-6, steps, max_norm=0), torch.bfloat16)
    naive = one().bfloat16()
    plain = torch.optim.AdamW(naive.parameters(), lr=1e-6, weight_decay=0)
    for step in range(steps):
        model.weight.grad = torch.ones_like(model.weight)
        optimiser.attempts += 1
        optimiser.gather_gradients()
        optimiser.step()
        optimiser.clear()
        if step < 50:
            naive.weight.grad = torch.ones_like(naive.weight)
            plain.step()
            assert naive.weight.item() == 1, "bfloat16 alone never moves"
    assert masters(optimiser)[0].item() == pytest.approx(1 - steps * 1e-6, abs=1e-4)
    assert model.weight.item() == 1 - 2**-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_from_a_file_with_the_same_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    config = OptimiserConfig(1e-2, 8, schedule="cosine", warmup_ratio=0.25, weight_decay=0.1)
    original = MasterOptimiser(network(0), config, dtype)
    for seed in range(3):
        take_step(original, seed)
    original.save(tmp_path / "policy.safetensors")
    other_weights = network(99)
    resumed = MasterOptimiser(other_weights, config, dtype)
    take_step(resumed, 55)
    resumed.load(tmp_path / "policy.safetensors")
    assert resumed.attempts == 3
    for parameter, master in zip(other_weights.parameters(), masters(original), strict=True):
        assert torch.equal(parameter, master.to(dtype)), "the model computes with what was loaded"
    for seed in range(3, 6):
        take_step(original, seed)
        take_step(resumed, seed)
        assert same_bits(masters(resumed), masters(original))


def test_a_file_from_before_the_first_step_brings_no_moments_along(tmp_path: Path) -> None:
    fresh = MasterOptimiser(network(0), CONFIG, torch.float32)
    fresh.save(tmp_path / "policy.safetensors")
    used = MasterOptimiser(network(7), CONFIG, torch.float32)
    take_step(used, 1)
    used.load(tmp_path / "policy.safetensors")
    take_step(fresh, 2)
    take_step(used, 2)
    assert same_bits(masters(used), masters(fresh))


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (nn.Linear(3, 5), "0.bias"),
        (network(width=6), "0.bias"),
        (nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 1)), "2.weight"),
    ],
)
def test_another_models_file_is_refused_and_changes_nothing(tmp_path: Path, other: nn.Module, names: str) -> None:
    MasterOptimiser(other, CONFIG, torch.float32).save(tmp_path / "other.safetensors")
    optimiser = MasterOptimiser(network(), CONFIG, torch.float32)
    before = masters(optimiser)
    with pytest.raises(ValueError, match=rf"other\.safetensors holds other weights than this model: .*{names}"):
        optimiser.load(tmp_path / "other.safetensors")
    assert same_bits(masters(optimiser), before)


def test_frozen_parameters_are_neither_held_nor_moved() -> None:
    model = network()
    model[0].requires_grad_(False)
    frozen = [p.clone() for p in model[0].parameters()]
    optimiser = MasterOptimiser(model, CONFIG, torch.float32)
    assert list(optimiser.masters) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    take_step(optimiser, 0)
    assert same_bits(frozen, list(model[0].parameters()))

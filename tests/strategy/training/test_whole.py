"""A model held whole: AdamW over float32 masters, against torch's AdamW, its paper's formula, plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightrft_core import OneRank
from lightrft_strategy.training import OptimiserConfig, Whole

pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed: int = 0, width: int = 5) -> nn.Module:
    """Matrices, which decay, and vectors, which do not."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 2))


def gradients(parameters: Iterable[Tensor], seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(parameter.shape, generator=generator) for parameter in parameters]


def hold(model: nn.Module, config: OptimiserConfig | None = None, dtype: torch.dtype | None = None) -> Whole:
    return Whole(model, config or CONFIG, dtype, OneRank())


def push(held: Whole, gradients: Iterable[Tensor]) -> None:
    """A micro-batch whose gradient is exactly this, in the precision of the module."""
    pairs = zip(held.working.values(), gradients, strict=True)
    held.backward(sum((parameter * gradient.to(parameter)).sum() for parameter, gradient in pairs))


def take_step(held: Whole, seed: int, learning_rate: float = 3e-3) -> None:
    """One step on gradients made from a seed."""
    push(held, gradients(held.working.values(), seed))
    assert held.step(learning_rate)[1] == ""


def masters(held: Whole) -> list[Tensor]:
    return [master.detach().clone() for master in held.masters.values()]


def moments(held: Whole) -> list[Tensor]:
    return [value.clone() for name, value in held.state().items() if name.startswith("adam.")]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


CONFIG = OptimiserConfig(3e-3, total_steps=100, weight_decay=0.1, max_norm=0)


def test_steps_are_those_of_torchs_adamw_on_a_plain_copy() -> None:
    held, copy = hold(network()), network()
    matrices = [p for p in copy.parameters() if p.ndim == 2]
    vectors = [p for p in copy.parameters() if p.ndim == 1]
    plain = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0}],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    for seed in range(5):
        take_step(held, seed)
        for parameter, gradient in zip(copy.parameters(), gradients(copy.parameters(), seed), strict=True):
            parameter.grad = gradient
        plain.step()
        for mine, reference in zip(masters(held), copy.parameters(), strict=True):
            torch.testing.assert_close(mine, reference.detach(), rtol=1e-6, atol=1e-7)


def test_steps_are_loshchilov_and_hutters_formula_in_float64() -> None:
    held = hold(network())
    weights = [w.double() for w in masters(held)]
    first, second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for t in range(1, 6):
        take_step(held, t)
        for i, gradient in enumerate(g.double() for g in gradients(weights, t)):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.95 * second[i] + 0.05 * gradient**2
            decay = 0.1 if gradient.ndim == 2 else 0.0
            update = (first[i] / (1 - 0.9**t)) / ((second[i] / (1 - 0.95**t)).sqrt() + 1e-8)
            weights[i] = weights[i] - 3e-3 * (update + decay * weights[i])
    for mine, expected in zip(masters(held), weights, strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 50.0])
@pytest.mark.parametrize("max_norm", [0.0, 1.0, 7.0])
def test_gradients_are_clipped_by_the_norm_of_all_of_them_together(scale: float, max_norm: float) -> None:
    held = hold(network(), OptimiserConfig(1e-3, 10, max_norm=max_norm))
    parts = gradients(held.masters.values(), 1, scale)
    whole = torch.cat([part.flatten().double() for part in parts])
    push(held, parts)
    norm, _ = held.step(1e-3)
    assert norm == pytest.approx(float(whole.norm()), rel=1e-6)
    factor = min(1.0, max_norm / float(whole.norm())) if max_norm else 1.0
    clipped = torch.cat([held.adam.state[master]["exp_avg"].flatten() for master in held.masters.values()]) / 0.1
    torch.testing.assert_close(clipped.double(), whole * factor, rtol=1e-5, atol=1e-12)


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


def test_a_step_goes_as_far_as_its_learning_rate() -> None:
    held = hold(nn.Linear(1, 1, bias=False), OptimiserConfig(1.0, total_steps=4, max_norm=0))
    moved = []
    for learning_rate in (1e-2, 7.5e-3, 2.5e-3):
        before = masters(held)[0]
        push(held, [torch.ones(1, 1)])
        held.step(learning_rate)
        moved.append(float(before - masters(held)[0]))
    assert moved == pytest.approx([1e-2, 7.5e-3, 2.5e-3], rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_moves(bad: float) -> None:
    held = hold(network())
    take_step(held, 0)
    before, remembered = masters(held), moments(held)
    parts = gradients(held.masters.values(), 1)
    parts[4][0, 0] = bad
    push(held, parts)
    norm, fault = held.step(3e-3)
    assert not math.isfinite(norm)
    assert fault == "the gradient of 2.weight is not finite"
    assert same_bits(masters(held), before)
    assert same_bits(moments(held), remembered)
    assert all(tensor.grad is None for tensor in [*held.masters.values(), *held.working.values()])


def test_a_weight_that_no_micro_batch_used_has_a_gradient_of_zero() -> None:
    """As it has where ranks add gradients up, of which some used it: the same run whatever the number of ranks."""
    used, unused = hold(network()), hold(network())
    take_step(used, 0), take_step(unused, 0)
    push(used, [torch.zeros_like(master) for master in used.masters.values()])
    unused.backward((unused.working["0.weight"] * 0).sum())
    used.step(3e-3), unused.step(3e-3)
    assert same_bits(masters(used), masters(unused))


def test_bfloat16_computes_in_copies_of_float32_masters() -> None:
    model = network()
    originals = [p.detach().clone() for p in model.parameters()]
    held = hold(model, dtype=torch.bfloat16)
    assert same_bits(masters(held), originals), "what bfloat16 cannot hold stays in the masters"
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    take_step(held, 0)
    for master, parameter in zip(masters(held), model.parameters(), strict=True):
        assert master.dtype == torch.float32
        assert torch.equal(parameter, master.bfloat16())
    assert {moment.dtype for moment in moments(held)} == {torch.float32}


def test_gradients_of_bfloat16_micro_batches_are_added_up_in_float32() -> None:
    held = hold(nn.Linear(1, 1, bias=False), dtype=torch.bfloat16)
    for gradient in (1.0, *[2**-9] * 3):
        push(held, [torch.full((1, 1), gradient)])
        assert held.working["weight"].grad is None
    assert held.step(0.0)[0] == 1 + 3 * 2**-9


def test_updates_too_small_for_bfloat16_survive_until_they_show() -> None:
    def one() -> nn.Linear:
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        return model

    model, steps = one(), 2500
    held = hold(model, OptimiserConfig(1e-6, steps, max_norm=0), torch.bfloat16)
    naive = one().bfloat16()
    plain = torch.optim.AdamW(naive.parameters(), lr=1e-6, weight_decay=0)
    for step in range(steps):
        push(held, [torch.ones(1, 1)])
        held.step(1e-6)
        if step < 50:
            naive.weight.grad = torch.ones_like(naive.weight)
            plain.step()
            assert naive.weight.item() == 1, "bfloat16 alone never moves"
    assert masters(held)[0].item() == pytest.approx(1 - steps * 1e-6, abs=1e-4)
    assert model.weight.item() == 1 - 2**-8


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("in_place", [True, False])
def test_training_goes_on_from_a_state_with_the_same_bits(dtype: torch.dtype | None, in_place: bool) -> None:
    original, other_weights = hold(network(0), dtype=dtype), network(99)
    for seed in range(3):
        take_step(original, seed)
    resumed = hold(other_weights, dtype=dtype)
    take_step(resumed, 55)
    state = dict(resumed.state())
    with torch.no_grad():
        for name, tensor in original.state().items():
            state[name] = state[name].copy_(tensor) if in_place else tensor.clone()
    resumed.load_state(state)
    for parameter, master in zip(other_weights.parameters(), masters(original), strict=True):
        assert torch.equal(parameter, master.to(parameter.dtype)), "the model computes with what was loaded"
    for seed in range(3, 6):
        take_step(original, seed)
        take_step(resumed, seed)
        assert same_bits(masters(resumed), masters(original))


def test_a_state_names_weights_and_what_adamw_remembers_of_each() -> None:
    held = hold(network())
    names = [name for name, _ in network().named_parameters()]
    kinds = ("master", "adam.step", "adam.exp_avg", "adam.exp_avg_sq")
    assert sorted(held.state()) == sorted(f"{kind}.{name}" for kind in kinds for name in names)
    assert not any(moment.any() for moment in moments(held)), "before the first step there is nothing"


def test_frozen_parameters_are_neither_held_nor_moved() -> None:
    model = network()
    model[0].requires_grad_(False)
    frozen = [p.clone() for p in model[0].parameters()]
    held = hold(model)
    assert list(held.masters) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    take_step(held, 0)
    assert same_bits(frozen, list(model[0].parameters()))

"""Log-probabilities in float16: its narrow range costs neither the numbers nor their gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightrft_core import chosen_logprobs

pytestmark = pytest.mark.usefixtures("one_thread")


def example(seed: int, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """hidden, head, ids, and what the loss weighs log-probabilities and entropies by."""
    generator = torch.Generator().manual_seed(seed)
    hidden, head = (torch.randn(rows, 8, generator=generator) * size for rows in (12, 40))
    weights = torch.randn(2, 12, generator=generator)
    ids = torch.randint(40, (12,), generator=generator)
    return hidden.half().requires_grad_(), head.half().requires_grad_(), ids, *weights


def gradients(seed: int, scale: float, size: float = 1.0, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    hidden, head, ids, first, second = example(seed, size)
    logprobs, entropies = chosen_logprobs(hidden, head, ids, chunk_elements=64)
    total = (first * logprobs).sum() + ((second * entropies).sum() if entropy else 0)
    found = torch.autograd.grad(total * scale, (hidden, head))
    return found[0], found[1]


def exact(seed: int, size: float = 1.0, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """The same for materialised logits in float64."""
    half_hidden, half_head, ids, first, second = example(seed, size)
    hidden, head = (tensor.detach().double().requires_grad_() for tensor in (half_hidden, half_head))
    law = (hidden @ head.T).log_softmax(-1)
    total = (first * law[torch.arange(len(ids)), ids]).sum()
    total = total - (second * (law.exp() * law).sum(-1)).sum() if entropy else total
    found = torch.autograd.grad(total, (hidden, head))
    return found[0], found[1]


def test_values_are_computed_in_float32_from_logits_of_float16() -> None:
    hidden, head, ids, _, _ = example(0)
    logprobs, entropy = chosen_logprobs(hidden, head, ids)
    law = (hidden.double() @ head.double().T).log_softmax(-1)
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), law[torch.arange(12), ids], rtol=0, atol=0.01)
    torch.testing.assert_close(entropy.double(), -(law.exp() * law).sum(-1), rtol=0, atol=0.01)


@pytest.mark.parametrize("entropy", [True, False])
def test_gradients_are_those_of_float64_within_the_precision_of_float16(entropy: bool) -> None:
    for found, expected in zip(gradients(1, 1.0, entropy=entropy), exact(1, entropy=entropy), strict=True):
        assert found.dtype == torch.float16
        assert (found.double() - expected).norm() < 2e-3 * expected.norm()


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), power=st.integers(-2, 8), entropy=st.booleans())
def test_a_loss_scale_changes_no_bit_of_a_gradient_in_range(seed: int, power: int, entropy: bool) -> None:
    plain, scaled = gradients(seed, 1.0, entropy=entropy), gradients(seed, 2.0**power, entropy=entropy)
    for one, other in zip(plain, scaled, strict=True):
        in_range = (one.abs() > 2**-12) & (one.abs() < 2**7)
        assert in_range.any()
        assert torch.equal(other[in_range].float(), one[in_range].float() * 2.0**power)


@pytest.mark.parametrize("entropy", [True, False])
def test_the_gradient_of_the_logits_may_lie_beyond_float16_if_what_becomes_of_it_does_not(entropy: bool) -> None:
    """At 2^22, that of a logit is in the millions; times a head of thousandths it fits again."""
    size, scale = 2.0**-9, 2.0**22
    for found, expected in zip(
        gradients(2, scale, size, entropy=entropy), exact(2, size, entropy=entropy), strict=True
    ):
        assert found.isfinite().all()
        assert (found.double() / scale - expected).norm() < 4e-3 * expected.norm()


def test_a_gradient_that_float16_cannot_hold_is_not_finite_so_that_it_is_noticed() -> None:
    assert not gradients(3, 2.0**30)[0].isfinite().all()
    assert not gradients(3, 2.0**30)[1].isfinite().all()


def test_a_gradient_that_is_not_finite_stays_so() -> None:
    assert not gradients(3, float("inf"))[0].isfinite().all()
    assert not gradients(3, float("nan"))[1].isfinite().all()


def test_tokens_without_weight_have_a_gradient_of_zero() -> None:
    assert not any(gradient.any() for gradient in gradients(4, 0.0))


@pytest.mark.parametrize("entropy", [True, False])
def test_a_sum_over_many_tokens_of_one_id_is_in_range_where_their_mean_is(entropy: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    hidden, head = 20 + torch.randn(4096, 8, generator=generator), torch.randn(40, 8, generator=generator) / 20
    ids, found = torch.zeros(4096, dtype=torch.long), []
    for dtype in (torch.float16, torch.float64):
        states, weight = hidden.half().to(dtype), head.half().to(dtype).requires_grad_()
        logprobs, entropies = chosen_logprobs(states, weight, ids)
        (logprobs.mean() + (entropies.mean() if entropy else 0)).backward()
        assert weight.grad is not None
        found.append(weight.grad.double())
    assert found[0].isfinite().all()
    assert (found[0] - found[1]).norm() < 4e-3 * found[1].norm()

"""Log-probabilities and entropies from hidden states, against materialised logits and autograd in float64."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightrft_core import chosen_logprobs

pytestmark = pytest.mark.usefixtures("one_thread")


def naive(hidden: Tensor, head: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = hidden @ head.T / temperature
    law = logits.log_softmax(-1)
    return law[torch.arange(len(ids)), ids], -(law.exp() * law).sum(-1)


def example(seed: int, tokens: int, dim: int, vocab: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, dim, generator=generator, dtype=torch.float64)
    head = torch.randn(vocab, dim, generator=generator, dtype=torch.float64)
    ids = torch.randint(vocab, (tokens,), generator=generator)
    return hidden.to(dtype).requires_grad_(), head.to(dtype).requires_grad_(), ids


def results(score, hidden: Tensor, head: Tensor, weights: tuple[Tensor | None, Tensor | None]) -> list[Tensor]:
    """Both outputs and both gradients of their weighted sum; a weight of None leaves an output out."""
    outputs = score(hidden, head)
    total = sum((w.to(o) * o).sum() for w, o in zip(weights, outputs, strict=True) if w is not None)
    return [*(o.detach() for o in outputs), *torch.autograd.grad(total, (hidden, head))]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    tokens=st.integers(0, 17),
    dim=st.integers(1, 9),
    vocab=st.integers(1, 40),
    chunk=st.integers(1, 400),
    temperature=st.sampled_from([1.0, 0.3, 0.7, 2.5]),
    used=st.sampled_from([(True, True), (True, False), (False, True)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_values_and_gradients_are_those_of_materialised_logits(
    seed, tokens, dim, vocab, chunk, temperature, used, dtype
) -> None:
    hidden, head, ids = example(seed, tokens, dim, vocab, dtype)
    weights = tuple(torch.randn(tokens, dtype=torch.float64) if use else None for use in used)
    got = results(
        lambda h, w: chosen_logprobs(h, w, ids, temperature=temperature, chunk_elements=chunk), hidden, head, weights
    )
    wide = (hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_())
    expected = results(lambda h, w: naive(h, w, ids, temperature), *wide, weights)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for mine, reference in zip(got, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), reference, rtol=tolerance, atol=tolerance)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    vocab=st.integers(6, 40),
    chunk=st.integers(1, 400),
    temperature=st.sampled_from([1.0, 0.3, 2.5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_tokens_that_are_never_chosen_weigh_nothing(seed, vocab, chunk, temperature, dtype) -> None:
    hidden, head, ids = example(seed, 9, 5, vocab, dtype)
    never = tuple(torch.randperm(vocab, generator=torch.Generator().manual_seed(seed))[: vocab // 2].tolist())
    others = torch.tensor([token for token in range(vocab) if token not in never])
    ids = ids % len(others)
    weights = (torch.randn(9, dtype=torch.float64), torch.randn(9, dtype=torch.float64))
    got = results(
        lambda h, w: chosen_logprobs(h, w, others[ids], temperature=temperature, never=never, chunk_elements=chunk),
        hidden,
        head,
        weights,
    )
    wide = (hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_())
    expected = results(lambda h, w: naive(h, w[others], ids, temperature), *wide, weights)
    for mine, theirs in zip(got, expected, strict=True):
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)
    assert not got[3][list(never)].any()


@pytest.mark.parametrize("chunk", [1, 12, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_gradients_pass_numerical_differentiation(chunk: int, temperature: float) -> None:
    hidden, head, ids = example(3, 5, 3, 7, torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w: chosen_logprobs(h, w, ids, temperature=temperature, chunk_elements=chunk), (hidden, head)
    )


def test_gradients_stay_right_when_some_tokens_are_all_but_impossible() -> None:
    hidden, head, ids = example(1, 6, 4, 9, torch.float32)
    with torch.no_grad():
        hidden[:, 0] = 1.0
        head[0, 0] = head[8, 0] = -3e7
    ids = ids.clamp(1, 7)
    weights = (torch.randn(6), torch.randn(6))
    got = results(lambda h, w: chosen_logprobs(h, w, ids), hidden, head, weights)
    wide = (hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_())
    expected = results(lambda h, w: naive(h, w, ids, 1.0), *wide, weights)
    for mine, reference in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.double(), reference, rtol=1e-3, atol=1e-4)


def test_bfloat16_weights_are_scored_in_float32() -> None:
    hidden, head, ids = example(2, 50, 16, 100, torch.bfloat16)
    logprobs, entropy = chosen_logprobs(hidden, head, ids)
    reference = naive(hidden.double(), head.double(), ids, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), reference[0], rtol=0.02, atol=0.1)
    torch.testing.assert_close(entropy.double(), reference[1], rtol=0.02, atol=0.1)
    (logprobs.sum() + entropy.sum()).backward()
    assert hidden.grad.dtype == head.grad.dtype == torch.bfloat16


class LargestTensor(TorchDispatchMode):
    """Notes the most elements any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_logits_of_all_tokens_never_exist_at_once() -> None:
    tokens, dim, vocab, chunk = 640, 8, 500, 5000
    hidden, head, ids = example(4, tokens, dim, vocab, torch.float32)
    with LargestTensor() as seen:
        logprobs, entropy = chosen_logprobs(hidden, head, ids, temperature=0.9, chunk_elements=chunk)
        (logprobs.sum() + entropy.sum()).backward()
    assert head.grad.abs().sum() > 0
    assert chunk // vocab * vocab <= seen.numel <= max(chunk, tokens * dim, vocab * dim) < tokens * vocab / 50


@pytest.mark.parametrize("frozen", ["hidden", "head"])
def test_what_is_frozen_gets_no_gradient_and_the_other_gets_the_same(frozen: str) -> None:
    hidden, head, ids = example(5, 9, 4, 11, torch.float64)
    logprobs, entropy = chosen_logprobs(hidden, head, ids, chunk_elements=12)
    (logprobs.sum() + entropy.sum()).backward()
    leaves = {"hidden": hidden, "head": head}
    again = {name: leaf.detach().requires_grad_(name != frozen) for name, leaf in leaves.items()}
    logprobs, entropy = chosen_logprobs(again["hidden"], again["head"], ids, chunk_elements=12)
    (logprobs.sum() + entropy.sum()).backward()
    for name, leaf in again.items():
        assert (leaf.grad is None) == (name == frozen)
        assert leaf.grad is None or torch.equal(leaf.grad, leaves[name].grad)


@pytest.mark.parametrize("vocab", [5, 3000])
def test_the_most_likely_token_may_stand_in_any_part_of_the_vocabulary(vocab: int) -> None:
    """Each part has its own largest logit, hundreds apart, so that whatever is not rescaled overflows or vanishes."""
    places = torch.tensor([0, 1, vocab // 2, vocab - 2, vocab - 1])
    hidden, head = 300 * torch.eye(5), torch.zeros(vocab, 5)
    head[places, torch.arange(5)] = 1.0
    logprobs, entropy = chosen_logprobs(hidden, head, places, chunk_elements=40)
    torch.testing.assert_close(logprobs, torch.zeros(5))
    torch.testing.assert_close(entropy, torch.zeros(5))
    logprobs, _ = chosen_logprobs(hidden, head, places.roll(1), chunk_elements=40)
    torch.testing.assert_close(logprobs, torch.full((5,), -300.0))


RESIDENT = """
from pathlib import Path
import torch
from lightrft_core import chosen_logprobs

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

hidden, ids = torch.randn(1024, 64), torch.zeros(1024, dtype=torch.long)
head = torch.randn(64 * 1024, 64)
chosen_logprobs(hidden[:8], head[:4096], ids[:8])
before = resident("VmRSS")
chosen_logprobs(hidden, head, ids)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_scoring_many_tiles_takes_no_more_memory_than_a_few_of_them():
    script = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, timeout=300, check=True)
    tile, tiles = 4 * 2**20, 64
    assert int(script.stdout) < tiles * tile / 4

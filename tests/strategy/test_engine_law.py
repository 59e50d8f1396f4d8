"""The law a token is drawn from, against float64 arithmetic; the draw, against a fine grid of uniforms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightrft_core import SamplingParams
from lightrft_strategy.engines.law import BLOCK, Laws, draw, truncate

pytestmark = pytest.mark.usefixtures("one_thread")

LAST = math.nextafter(1, 0)
LAWS = [
    SamplingParams(),
    SamplingParams(temperature=0.7),
    SamplingParams(top_k=5),
    SamplingParams(top_p=0.8),
    SamplingParams(temperature=1.5, top_k=40, top_p=0.9),
]


def some_logits(seed: int, vocab: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(vocab, generator=torch.Generator().manual_seed(seed))


def law(logits: Tensor, sampling: SamplingParams) -> np.ndarray:
    """Probabilities in float64, by the definitions: sort, keep k, keep the smallest set that reaches p, renormalise."""
    scaled = logits.double().numpy() / sampling.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p)
    if sampling.top_k:
        p[order[sampling.top_k :]] = 0
        p /= p.sum()
    if sampling.top_p < 1:
        kept = int(np.searchsorted(np.cumsum(p[order]), sampling.top_p)) + 1
        p[order[kept:]] = 0
        p /= p.sum()
    return p


@pytest.mark.parametrize("sampling", LAWS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_the_truncated_law_keeps_and_weighs_tokens_as_its_definition_says(sampling, seed) -> None:
    logits = some_logits(seed, 700)
    expected = law(logits, sampling)
    mine = truncate(logits[None], sampling).double().softmax(-1)[0].numpy()
    assert ((mine > 0) == (expected > 0)).all()
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("sampling", LAWS, ids=str)
@pytest.mark.parametrize("vocab", [1, 2, 255, 256, 257, 600])
def test_over_a_fine_grid_of_uniforms_every_token_is_drawn_as_often_as_its_probability(sampling, vocab) -> None:
    points = 4000
    grid = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    logits = some_logits(vocab, vocab)
    tokens, logprobs = draw(logits.expand(points, -1), grid, sampling)
    expected = law(logits, sampling)
    shares = torch.bincount(tokens, minlength=vocab).double().numpy() / points
    assert abs(shares - expected).max() <= 1 / points + 1e-6, "one interval a token"
    assert tokens.diff().ge(0).all(), "the inverse of a distribution function rises"
    np.testing.assert_allclose(logprobs.double().numpy(), np.log(expected[tokens]), rtol=1e-4, atol=1e-4)


def test_two_tokens_share_the_unit_interval_exactly_at_their_border() -> None:
    logits = torch.tensor([0.25, 0.75]).log()
    uniforms = torch.tensor([0.0, 0.2499999, 0.2500001, LAST], dtype=torch.float64)
    tokens, _ = draw(logits.expand(4, -1), uniforms, SamplingParams())
    assert tokens.tolist() == [0, 0, 1, 1]


@given(
    seed=st.integers(0, 2**31),
    vocab=st.integers(1, 3 * BLOCK),
    impossible=st.floats(0, 1),
    scale=st.sampled_from([0.0, 1.0, 10.0, 60.0]),
    sampling=st.sampled_from([*LAWS, SamplingParams(top_k=1), SamplingParams(top_p=1e-6)]),
    uniform=st.one_of(st.floats(0, LAST), st.sampled_from([0.0, LAST, 5e-324, 0.5])),
)
def test_a_token_without_probability_is_never_drawn(seed, vocab, impossible, scale, sampling, uniform) -> None:
    logits = some_logits(seed, vocab, scale)
    without = torch.rand(vocab, generator=torch.Generator().manual_seed(seed + 1)) < impossible
    without[seed % vocab] = False
    logits[without] = -torch.inf
    tokens, logprobs = draw(logits[None], torch.tensor([uniform], dtype=torch.float64), sampling)
    kept = truncate(logits[None], sampling).softmax(-1)[0]
    assert 0 <= tokens.item() < vocab
    assert kept[tokens.item()] > 0
    assert logprobs.isfinite().all()


@pytest.mark.parametrize("uniform", [0.0, LAST])
@pytest.mark.parametrize("only", [0, 255, 256, 511, 512, 599])
def test_at_both_ends_of_the_interval_the_only_possible_token_is_drawn(only: int, uniform: float) -> None:
    logits = torch.full((600,), -torch.inf)
    logits[only] = 0.0
    tokens, logprobs = draw(logits[None], torch.tensor([uniform], dtype=torch.float64), SamplingParams())
    assert (tokens.item(), logprobs.item()) == (only, 0.0)


def test_uniforms_at_the_very_borders_of_blocks_and_of_the_interval_draw_possible_tokens() -> None:
    rows, vocab = 3000, 2 * BLOCK + 88
    logits = torch.stack([some_logits(seed, vocab) for seed in range(rows)])
    logits[:, [0, BLOCK, 2 * BLOCK, vocab - 1]] = -torch.inf
    probabilities = logits.double().softmax(-1)
    for border in (probabilities[:, :BLOCK].sum(1), probabilities[:, : 2 * BLOCK].sum(1), torch.ones(rows).double()):
        for hair in (0.0, 1e-16, 1e-8, 1e-7):
            tokens, logprobs = draw(logits, (border - hair).clamp(0, LAST), SamplingParams())
            assert tokens.max() < vocab
            assert logprobs.isfinite().all()


def test_rows_are_drawn_independently() -> None:
    logits = torch.stack([some_logits(seed, 600) for seed in range(5)])
    uniforms = torch.linspace(0, 0.99, 5, dtype=torch.float64)
    together = draw(logits, uniforms, LAWS[-1])
    for row in range(5):
        alone = draw(logits[row, None], uniforms[row, None], LAWS[-1])
        assert together[0][row] == alone[0][0]
        assert together[1][row] == alone[1][0]


def test_a_greedy_choice_is_the_likeliest_token_weighed_at_temperature_one() -> None:
    logits = some_logits(3, 300)
    tokens, logprobs = draw(logits[None], torch.zeros(1, 0, dtype=torch.float64), SamplingParams(temperature=0))
    expected = law(logits, SamplingParams())
    assert tokens.item() == expected.argmax()
    assert logprobs.item() == pytest.approx(math.log(expected.max()), abs=1e-5)


@pytest.mark.parametrize("sampling", [SamplingParams(temperature=0), *LAWS], ids=str)
def test_tokens_that_are_never_drawn_leave_their_probability_to_the_others(sampling: SamplingParams) -> None:
    logits = some_logits(3, 300)
    never = logits.topk(40).indices.tolist()
    own = sampling.without(never)
    rows = 500
    laws = Laws(own, (), 300, torch.device("cpu"))
    grid = torch.linspace(0, LAST, rows, dtype=torch.float64)
    zeros = torch.zeros(rows, dtype=torch.long)
    tokens, logprobs, _ = laws.draw(logits.expand(rows, -1), grid, zeros, zeros)
    assert not {*never} & {*tokens.tolist()}
    others = torch.tensor([token for token in range(300) if token not in never])
    known = law(logits[others], sampling if sampling.temperature else SamplingParams())
    expected = dict(zip(others.tolist(), known.tolist(), strict=True))
    drawn = np.array([expected[token] for token in tokens.tolist()])
    np.testing.assert_allclose(logprobs.double().exp().numpy(), drawn, rtol=1e-4)


def test_what_is_never_drawn_holds_for_each_answers_own_law() -> None:
    several = SamplingParams(n=2, per_sample=(SamplingParams(top_k=3), SamplingParams(never=(9,))))
    assert [several.without((4, 5)).of(sample).never for sample in range(2)] == [(4, 5), (9, 4, 5)]
    assert several.without(()) == several

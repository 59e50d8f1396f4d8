"""The attention of a flat row, against scores that are all held at once and masked by the rule's own words."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask

from lightrft_strategy.packing.flex import flexible_attention, rule
from lightrft_strategy.packing.pieces import Shape, pieces
from lightrft_strategy.packing.piecewise import piecewise_attention
from lightrft_strategy.packing.row import FlatRow

pytestmark = pytest.mark.usefixtures("one_thread")

Lengths = list[tuple[int, list[int]]]
LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 9), max_size=4)), min_size=1, max_size=4)
WINDOWS = st.none() | st.integers(1, 12)


def visible(lengths: Lengths, window: int | None) -> Tensor:
    """[tokens, tokens] by definition: a key of the same tree, in the root or the query's own leaf, and not too far."""
    tokens = []
    for tree, (root, leaves) in enumerate(lengths):
        tokens += [(tree, None, position) for position in range(root)]
        tokens += [(tree, leaf, root + i) for leaf, length in enumerate(leaves) for i in range(length)]
    return torch.tensor(
        [
            [
                tree == q_tree and leaf in (None, q_leaf) and 0 <= q_position - position < (window or 10**9)
                for tree, leaf, position in tokens
            ]
            for q_tree, q_leaf, q_position in tokens
        ]
    )


def states(row: FlatRow, heads: int, key_heads: int, dim: int, value_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the layout models have: heads lie beside each other in a token."""
    generator = torch.Generator().manual_seed(row.tokens)
    shapes = ((heads, dim), (key_heads, dim), (key_heads, value_dim))
    drawn = (torch.randn(1, row.tokens, *shape, generator=generator, dtype=torch.float64) for shape in shapes)
    query, key, value = (each.transpose(1, 2).requires_grad_() for each in drawn)
    return query, key, value


def dense(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.transpose(-1, -2) * scale).masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ value


@given(LENGTHS, WINDOWS)
def test_pieces_cover_every_visible_pair_once_and_no_other(lengths: Lengths, window: int | None) -> None:
    row = FlatRow(lengths)
    covered, causal = torch.zeros(row.tokens, row.tokens, dtype=torch.long), [0] * row.tokens
    done = False
    for queries, keys, shape in pieces(row, window):
        block = torch.ones(len(queries), len(keys), dtype=torch.long)
        if shape is not Shape.FULL:
            assert len(queries) == len(keys)
            block = block.tril() if shape is Shape.CAUSAL else block.triu()
        covered[queries.start : queries.stop, keys.start : keys.stop] += block
        assert not (done and shape is Shape.CAUSAL)
        done |= shape is not Shape.CAUSAL
        for query in queries if shape is Shape.CAUSAL else ():
            causal[query] += 1
    assert torch.equal(covered, visible(lengths, window).long())
    assert causal == [1] * row.tokens


@given(LENGTHS, WINDOWS)
def test_the_rule_of_the_block_mask_is_the_definition(lengths: Lengths, window: int | None) -> None:
    row = FlatRow(lengths)
    mask = create_mask(rule(row, window), 1, 1, row.tokens, row.tokens, device="cpu")
    assert torch.equal(mask[0, 0], visible(lengths, window))


@given(LENGTHS)
def test_positions_go_on_from_the_root_in_every_leaf(lengths: Lengths) -> None:
    expected = [p for root, leaves in lengths for p in [*range(root), *(root + i for n in leaves for i in range(n))]]
    assert FlatRow(lengths).positions.tolist() == [expected]


@pytest.mark.parametrize(
    ("heads", "key_heads", "dim", "value_dim"), [(2, 2, 8, 8), (6, 2, 16, 16), (2, 1, 12, 8), (2, 2, 8, 12)]
)
@given(lengths=LENGTHS, window=WINDOWS)
def test_piecewise_attention_and_its_gradients_are_those_of_dense_scores(
    heads: int, key_heads: int, dim: int, value_dim: int, lengths: Lengths, window: int | None
) -> None:
    row = FlatRow(lengths)
    inputs, mask = states(row, heads, key_heads, dim, value_dim), visible(lengths, window)
    got, expected = piecewise_attention(*inputs, row, 0.7, window), dense(*inputs, mask, 0.7)
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((got * weights).sum(), inputs)
    for mine, theirs in zip(ours, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_scores_too_large_for_exp_are_joined_without_overflow() -> None:
    lengths: Lengths = [(5, [4, 3])]
    row = FlatRow(lengths)
    query, key, value = states(row, 2, 2, 8, 8)
    got = piecewise_attention(query, key, value, row, 500.0, None)
    torch.testing.assert_close(got, dense(query, key, value, visible(lengths, None), 500.0), rtol=1e-9, atol=1e-9)


def test_in_bfloat16_the_joined_parts_are_as_near_as_one_rounding_each() -> None:
    lengths: Lengths = [(30, [20, 25]), (4, [9, 3])]
    row = FlatRow(lengths)
    inputs = states(row, 4, 2, 16, 16)
    rounded = [each.detach().bfloat16().requires_grad_() for each in inputs]
    got = piecewise_attention(*rounded, row, 0.25, None)
    expected = dense(*(each.double() for each in rounded), visible(lengths, None), 0.25)
    assert got.dtype == torch.bfloat16
    assert (got.double() - expected).norm() < 6e-3 * expected.norm()
    ours = torch.autograd.grad(got.double().square().sum(), rounded)
    for mine, theirs in zip(ours, torch.autograd.grad(expected.square().sum(), rounded), strict=True):
        assert (mine.double() - theirs.double()).norm() < 2e-2 * theirs.double().norm()


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("value_dim", [16, 8])
def test_flexible_attention_gives_the_same_as_piecewise(window: int | None, value_dim: int) -> None:
    lengths: Lengths = [(7, [3, 5, 1]), (2, [6]), (3, [2, 2])]
    row, other = FlatRow(lengths), FlatRow(lengths)
    inputs = [each.detach() for each in states(row, 4, 2, 16, value_dim)]
    got = flexible_attention(*inputs, row, 0.3, window, compiled=False)
    expected = piecewise_attention(*inputs, other, 0.3, window)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)

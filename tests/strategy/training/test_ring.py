"""Attention whose keys and values go round a ring of real processes, against scores that are all held at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_strategy import ring as ring_module
from lightrft_strategy.packing.pieces import Piece, Shape, cut, pieces
from lightrft_strategy.packing.row import FlatRow
from lightrft_strategy.ring import Ring

from ..test_packing_attention import LENGTHS, WINDOWS, Lengths, dense, visible
from .processes import Processes
from .ring_runs import Drawn, attended

pytestmark = pytest.mark.usefixtures("one_thread")

Groups = Callable[[int], Processes]
HEADS = st.sampled_from([(2, 2, 8, 8), (6, 2, 6, 6), (3, 1, 12, 8), (3, 3, 8, 12)])
LONG = st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(0, 30), max_size=4)), min_size=1, max_size=4)


def mask_of(row: FlatRow, drawn: Drawn) -> torch.Tensor:
    """[tokens, tokens] by definition, and all of what looks ahead."""
    padded: Lengths = [(len(tree.root), [len(leaf) for leaf in tree.leaves]) for tree in row.trees]
    mask = visible(padded, drawn.window)
    mask[: drawn.ahead, : drawn.ahead] = True
    return mask


def missed(found: list[tuple[numpy.ndarray, ...]], drawn: Drawn, size: int) -> list[float]:
    """How far what all ranks found, put together, is from attention by its definition in float64, relatively.

    Of what is seen, and of the gradients of queries, keys and values: these beside the gradient they come of, too, for
    where a token sees but one key, its query has none, and what is found is rounding.
    """
    row = drawn.row(2 * size)
    *inputs, gradient = drawn.inputs(row)
    query, key, value = (each.double().requires_grad_() for each in inputs)
    out = dense(query, key, value, mask_of(row, drawn), drawn.scale).transpose(1, 2)
    out.backward(gradient.double())
    expected = [out.detach(), *(each.grad.transpose(1, 2) for each in (query, key, value) if each.grad is not None)]
    assert sorted(place for each in found for place in each[0]) == [*range(row.tokens)], "each token is on one rank"
    order = numpy.argsort(numpy.concatenate([each[0] for each in found]))
    parts = [numpy.concatenate(each)[order] for each in list(zip(*found, strict=True))[1:]]
    sizes = [0.0] + 3 * [float(gradient.double().norm())]
    triples = zip(parts, (whole[0].numpy() for whole in expected), sizes, strict=True)
    return [float(numpy.linalg.norm(part - whole) / (come + numpy.linalg.norm(whole))) for part, whole, come in triples]


@settings(max_examples=15, deadline=None)
@given(lengths=LONG, window=WINDOWS, heads=HEADS)
@pytest.mark.parametrize(
    "size", [2, pytest.param(3, marks=pytest.mark.proof), pytest.param(4, marks=pytest.mark.proof)]
)
def test_a_ring_sees_what_dense_scores_say_and_has_their_gradients(
    processes: Groups, size: int, lengths: Lengths, window: int | None, heads: tuple[int, int, int, int]
) -> None:
    drawn = Drawn(lengths, window, heads)
    assert max(missed(processes(size).run(attended, drawn, size), drawn, size)) < 1e-11


@pytest.mark.parametrize("ahead", [2, 5, 12])
def test_tokens_that_look_ahead_see_blocks_of_later_ranks(processes: Groups, ahead: int) -> None:
    drawn = Drawn([(14, [3, 5]), (4, [])], None, (2, 1, 8, 8), ahead=ahead)
    assert max(missed(processes(2).run(attended, drawn, 2), drawn, 2)) < 1e-11


def test_scores_too_large_for_exp_are_joined_without_overflow(processes: Groups) -> None:
    """Gradients are the rounding of what is all but a choice of one key, times the scale."""
    drawn = Drawn([(9, [4, 3])], None, (2, 2, 8, 8), scale=500.0)
    seen, *gradients = missed(processes(2).run(attended, drawn, 2), drawn, 2)
    assert seen < 1e-11 and max(gradients) < 1e-8


def test_in_bfloat16_sums_are_float32(processes: Groups) -> None:
    """One rounding of 8 bits of what is seen; in the gradients also that of what was kept of it."""
    drawn = Drawn([(90, [60, 75]), (12, [27, 9])], None, (4, 2, 16, 16), scale=0.25, dtype=torch.bfloat16)
    assert max(missed(processes(2).run(attended, drawn, 2), drawn, 2)) < 6e-3


def test_a_row_longer_than_a_tile_is_computed_in_tiles(processes: Groups) -> None:
    drawn = Drawn([(2200, [])], 700, (1, 1, 4, 4))
    assert drawn.row(4).tokens // 4 > ring_module.TILE
    assert max(missed(processes(2).run(attended, drawn, 2), drawn, 2)) < 1e-11


@given(LENGTHS, WINDOWS, st.integers(1, 7))
def test_cells_cut_pieces_without_a_rest(lengths: Lengths, window: int | None, side: int) -> None:
    row = FlatRow(lengths)
    cells = [range(start, min(start + side, row.tokens)) for start in range(0, row.tokens, side)]
    covered = torch.zeros(row.tokens, row.tokens, dtype=torch.long)
    for piece in pieces(row, window):
        for queries in cells:
            for keys in cells:
                for part in cut(piece, queries, keys):
                    assert {*part.queries} <= {*queries} and {*part.keys} <= {*keys}
                    covered[part.queries.start : part.queries.stop, part.keys.start : part.keys.stop] += seen_of(part)
    assert torch.equal(covered, visible(lengths, window).long())


def seen_of(piece: Piece) -> torch.Tensor:
    assert piece.shape is Shape.FULL or len(piece.queries) == len(piece.keys)
    block = torch.ones(len(piece.queries), len(piece.keys), dtype=torch.long)
    return block if piece.shape is Shape.FULL else block.tril() if piece.shape is Shape.CAUSAL else block.triu()


@pytest.mark.parametrize("size", [2, 4, 8])
def test_under_causality_all_ranks_have_equally_many_scores(size: int) -> None:
    row = FlatRow([(4096, [])])
    counts = []
    for rank in range(size):
        plan = Ring(None, rank, size).steps(row, None)  # type: ignore[arg-type]
        counts.append(sum(int(seen_of(piece).sum()) for step in plan for piece in step))
    assert sum(counts) == 4096 * 4097 // 2
    assert max(counts) == min(counts)


def test_a_block_of_which_nothing_is_seen_is_not_computed() -> None:
    """Eight sequences, as long as the parts that four ranks have two of."""
    row = FlatRow([(8, []) for _ in range(8)])
    for rank in range(4):
        plan = Ring(None, rank, 4).steps(row, None)  # type: ignore[arg-type]
        assert [bool(step) for step in plan] == [True, False, False, False]


def test_each_place_of_a_row_is_owned_by_the_rank_that_has_its_token() -> None:
    row = torch.arange(48)[None]
    places = torch.tensor([0, 5, 6, 11, 23, 24, 30, 47])
    for size in (2, 3, 4):
        owners = torch.zeros(len(places), dtype=torch.long)
        for rank in range(size):
            ring = Ring(None, rank, size)  # type: ignore[arg-type]
            owned, local = ring.owned(places, 48)
            assert torch.equal(ring.own(row)[0, local], places[owned])
            owners[owned] += 1
        assert owners.tolist() == [1] * len(places)

"""Which rectangles and triangles of the score matrix a flat row computes: those that are seen and no others."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from lightrft_strategy.packing.row import FlatRow


class Shape(Enum):
    """Which keys a piece's query number i sees: all, those up to i, or those from i on."""

    FULL = "full"
    CAUSAL = "causal"
    BACKWARD = "backward"


class Piece(NamedTuple):
    """queries, keys: token ranges of the row; a triangle has as many queries as keys."""

    queries: range
    keys: range
    shape: Shape


def pieces(row: FlatRow, window: int | None) -> list[Piece]:
    """Every visible pair of tokens, each in one piece; first the causal ones, in which each token is a query once.

    window: how many tokens a query sees, itself included; None: all. Raises ValueError if tokens look ahead in a range
    that is longer.
    """
    found = [Piece(span[:-1], span[1:], Shape.BACKWARD) for span in row.ahead if len(span) > 1]
    if window is not None and any(len(span) > window for span in row.ahead):
        raise ValueError(
            f"{max(map(len, row.ahead))} tokens see each other, more than the {window} that attention reaches: turn "
            "packing off"
        )
    for root, leaves in row.trees:
        found += _within(root, window)
        for leaf in leaves:
            found += _within(leaf, window)
        if leaves and (window is None or len(root) + max(map(len, leaves)) <= window):
            found.append(Piece(range(root.stop, leaves[-1].stop), root, Shape.FULL))
        elif window is not None:
            for leaf in leaves:
                found += _across(leaf, root, len(root), window)
    return sorted(found, key=lambda piece: piece.shape is not Shape.CAUSAL)


def _within(span: range, window: int | None) -> Iterator[Piece]:
    """What consecutive tokens see of themselves: blocks as long as the window see all of their own past."""
    size = window or len(span)
    blocks = [span[start : start + size] for start in range(0, len(span), size)]
    yield from (Piece(block, block, Shape.CAUSAL) for block in blocks)
    for before, block in pairwise(blocks):
        yield from _across(block, before, size, size)


def _across(queries: range, keys: range, gap: int, window: int) -> Iterator[Piece]:
    """What tokens see of earlier ones through a window. gap: from the first key's position to the first query's."""
    whole = min(max(window - gap, 0), len(queries))
    if whole:
        yield Piece(queries[:whole], keys, Shape.FULL)
    some = queries[whole : max(whole, len(keys) + window - 1 - gap)]
    if some:
        seen = keys[gap + whole - window + 1 :]
        yield Piece(some, seen[: len(some)], Shape.BACKWARD)
        if len(seen) > len(some):
            yield Piece(some, seen[len(some) :], Shape.FULL)


def cut(piece: Piece, queries: range, keys: range) -> Iterator[Piece]:
    """What of a piece lies in a cell of the score matrix. queries, keys: the same tokens, or none in common."""
    own, seen = _overlap(piece.queries, queries), _overlap(piece.keys, keys)
    if not own or not seen:
        return
    if piece.shape is Shape.FULL:
        yield Piece(own, seen, Shape.FULL)
    elif piece.shape is Shape.CAUSAL:
        if keys.start <= queries.start:
            yield Piece(own, seen, Shape.CAUSAL if keys == queries else Shape.FULL)
    else:
        yield from _of_backward(piece, own, seen)


def _of_backward(piece: Piece, own: range, seen: range) -> Iterator[Piece]:
    """Of a triangle whose query number i sees the keys from i on: a rectangle, a triangle, a rectangle beside."""
    first, gap = piece.queries.start, piece.keys.start - piece.queries.start
    whole = _overlap(own, range(first, seen.start - gap))
    if whole:
        yield Piece(whole, seen, Shape.FULL)
    some = _overlap(own, range(seen.start - gap, seen.stop - gap))
    if some:
        yield Piece(some, range(some.start + gap, some.stop + gap), Shape.BACKWARD)
        if some.stop + gap < seen.stop:
            yield Piece(some, range(some.stop + gap, seen.stop), Shape.FULL)


def _overlap(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))

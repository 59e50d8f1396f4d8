"""Exact attention of a flat row on the CPU, piece by piece, joined by the log of each piece's softmax sum.

Parts of a softmax join as in Hydragen (Juravsky et al. 2024, arXiv 2402.05099, section 3.1). Backward, each piece has
the gradient that FlashAttention-2 gives a block (Dao 2023, arXiv 2307.08691, algorithm 2): it needs the output and the
log-sum-exp over all keys alone. A prompt's keys are read once for all answers' queries, and never copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightrft_strategy.packing.pieces import Piece, Shape, pieces
from lightrft_strategy.packing.row import FlatRow

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def piecewise_attention(
    query: Tensor, key: Tensor, value: Tensor, row: FlatRow, scale: float, window: int | None
) -> Tensor:
    """[1, heads, tokens, value dim]; query, key, value: [1, heads|key heads, tokens, dim|value dim].

    Queries of head h read key head h // (heads / key heads).
    """
    dim, value_dim = query.shape[-1], value.shape[-1]
    if value_dim != dim:
        query, key, value = (pad(states, (0, max(dim, value_dim) - states.shape[-1])) for states in (query, key, value))
    grouped = query[0].view(key.shape[1], -1, *query.shape[2:])
    attended: Tensor = _Piecewise.apply(grouped, key[0], value[0], row.plan(window, pieces), scale)  # type: ignore[no-untyped-call]
    return attended.flatten(0, 1)[None, ..., :value_dim]


class _Piecewise(torch.autograd.Function):
    """query [key heads, group, tokens, dim], key and value [key heads, tokens, dim] -> as query.

    Below 32 bits it is kept as it is and computed in float32: nearer, and backward four to six times faster for answers
    of usual length, torch's kernel for bfloat16 being slow on short ones.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: list[Piece], scale: float) -> Tensor:
        kept, dtype = (query, key, value), query.dtype
        query, key, value = _exact(query, key, value)
        heads, group, tokens, dim = query.shape
        out = query.new_empty(tokens, heads, group, dim).permute(1, 2, 0, 3)
        sums = query.new_empty(heads, tokens, group).transpose(1, 2)
        for piece in plan:
            queries, keys, values = _states(piece, query, key, value)
            part, part_sums = _forward(queries, keys, values, 0.0, piece.shape is not Shape.FULL, scale=scale)
            part, part_sums = _turned(piece, part, 2), _turned(piece, part_sums, 2)
            place = _slice(piece.queries)
            if piece.shape is Shape.CAUSAL:
                out[:, :, place], sums[:, :, place] = part, part_sums
            else:
                before = sums[:, :, place]
                out[:, :, place].lerp_(part, (part_sums - before).sigmoid()[..., None])
                sums[:, :, place] = before.logaddexp(part_sums)
        out = out.to(dtype)
        ctx.save_for_backward(*kept, out, sums)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        *kept, sums = ctx.saved_tensors
        query, key, value, out, gradient = _exact(*kept, gradients[0])
        of_query, of_key, of_value = (torch.zeros_like(states) for states in (query, key, value))
        for piece in ctx.plan:
            place, seen = _slice(piece.queries), _slice(piece.keys)
            own = [_turned(piece, states[:, :, place], 2) for states in (gradient, out, sums)]
            parts = _backward(
                own[0],
                *_states(piece, query, key, value),
                own[1],
                own[2],
                0.0,
                piece.shape is not Shape.FULL,
                scale=ctx.scale,
            )
            of_query[:, :, place] += _turned(piece, parts[0], 2)
            of_key[:, seen] += _turned(piece, parts[1].sum(1), 1)
            of_value[:, seen] += _turned(piece, parts[2].sum(1), 1)
        dtype = kept[0].dtype
        return of_query.to(dtype), of_key.to(dtype), of_value.to(dtype), None, None


def _exact(*states: Tensor) -> tuple[Tensor, ...]:
    return tuple(each.to(torch.promote_types(each.dtype, torch.float32)) for each in states)


def _states(piece: Piece, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The piece's queries, and its keys and values seen by every head of their group without being copied."""
    queries = _turned(piece, query[:, :, _slice(piece.queries)], 2)
    keys, values = (_turned(piece, states[:, _slice(piece.keys)], 1) for states in (key, value))
    return (
        queries,
        keys[:, None].expand(-1, query.shape[1], -1, -1),
        values[:, None].expand(-1, query.shape[1], -1, -1),
    )


def _turned(piece: Piece, states: Tensor, time: int) -> Tensor:
    """A triangle in which queries see the keys from their own number on is causal when read from its end."""
    return states.flip(time) if piece.shape is Shape.BACKWARD else states


def _slice(span: range) -> slice:
    return slice(span.start, span.stop)

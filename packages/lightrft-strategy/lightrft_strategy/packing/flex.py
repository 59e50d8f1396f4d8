"""Attention of a flat row on an accelerator: PyTorch's FlexAttention with the row's rule as its block mask.

The rule is proven on the CPU without compilation; the compiled kernel has not been run on an accelerator yet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from lightrft_strategy.packing.row import FlatRow

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def rule(row: FlatRow, window: int | None) -> Rule:
    """Whether query token q of the row sees key token k, as FlexAttention asks: (batch, head, q, k) -> bool."""
    owner, root = list[int](), list[int]()
    for tree in row.trees:
        first = len(owner)
        for span in (tree.root, *tree.leaves):
            owner += [span.start] * len(span)
        root += [tree.root.start] * (len(owner) - first)
    device = row.positions.device
    owners, roots = torch.tensor(owner, device=device), torch.tensor(root, device=device)
    positions = row.positions[0]
    blocks = torch.full_like(positions, -1)
    for number, span in enumerate(row.ahead):
        blocks[span.start : span.stop] = number

    def seen(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        related = (owners[k] == owners[q]) | (owners[k] == roots[q])
        near = positions[q] - positions[k] < window if window is not None else True
        together = (blocks[q] == blocks[k]) & (blocks[q] >= 0)
        return ((related & (k <= q)) | together) & near

    return seen


def flexible_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row: FlatRow,
    scale: float,
    window: int | None,
    *,
    compiled: bool = True,
) -> Tensor:
    """As piecewise_attention. compiled: fuse it; without, all scores are held at once."""
    attend, build = _compiled() if compiled else (flex_attention, create_block_mask)

    def block_mask(row: FlatRow, window: int | None) -> BlockMask:
        mask: BlockMask = build(rule(row, window), None, None, row.tokens, row.tokens, device=query.device)
        return mask

    mask = row.plan(window, block_mask)
    attended: Tensor = attend(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)
    return attended


@cache
def _compiled() -> tuple[Any, Any]:
    return torch.compile(flex_attention), torch.compile(create_block_mask)

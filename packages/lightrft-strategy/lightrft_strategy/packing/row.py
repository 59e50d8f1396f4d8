"""A micro-batch as one row of tokens: trees whose root is a prompt and whose leaves are its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightrft_core import Batch


class Tree(NamedTuple):
    """Where tokens stand in the row. A token sees its own range up to itself; one in a leaf sees the root before it."""

    root: range
    leaves: tuple[range, ...]


class FlatRow:
    """Who stands where in a row of tokens; a layer's attention is planned once for each window, for all layers.

    lengths: of each tree its root's, at least 1, and its leaves'. A leaf of length 0 is none; an only leaf is one with
    its root, for which causality says it all.
    positions: [1, tokens] counted from the start of a tree; every leaf begins where the root ends.
    ahead: ranges within roots whose tokens see all of the range, also what stands behind them.
    """

    def __init__(self, lengths: Sequence[tuple[int, Sequence[int]]], device: torch.device | None = None) -> None:
        trees, positions, start = list[Tree](), list[Tensor](), 0
        for root_length, leaf_lengths in lengths:
            root, leaves = range(start, start + root_length), list[range]()
            positions.append(torch.arange(root_length))
            for length in filter(None, leaf_lengths):
                end = leaves[-1].stop if leaves else root.stop
                leaves.append(range(end, end + length))
                positions.append(torch.arange(root_length, root_length + length))
            start = leaves[-1].stop if leaves else root.stop
            trees.append(Tree(root, tuple(leaves)) if len(leaves) > 1 else Tree(range(root.start, start), ()))
        self.trees = tuple(trees)
        self.tokens = start
        self.positions = torch.cat(positions)[None].to(device)
        self.ahead: tuple[range, ...] = ()
        self.plans: dict[int | None, Any] = {}

    def look_ahead(self, blocks: Tensor) -> None:
        """Set `ahead`, before any attention, to what stands side by side with one number of blocks [tokens], -1: no."""
        numbers, counts = blocks.unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
        ends = counts.cumsum(0).tolist()
        spans = zip(numbers.tolist(), ends, counts.tolist(), strict=True)
        self.ahead = tuple(range(end - count, end) for number, end, count in spans if number >= 0)

    def plan(self, window: int | None, make: Callable[[FlatRow, int | None], Any]) -> Any:
        """make(self, window), made once."""
        if window not in self.plans:
            self.plans[window] = make(self, window)
        return self.plans[window]


def flatten(batch: Batch, *, sharing: bool = True, multiple: int = 1) -> tuple[FlatRow, Tensor, Tensor]:
    """(row, places [1, tokens], before): before [loss tokens] is where in the row the token before each one stands.

    places: which of the batch's tokens they are, those of prompt_ids being counted first, padding included, and those
    of response_ids after them. Of an answer nothing behind the token before its last loss token is in the row: no loss
    depends on it.
    sharing: a prompt stands once for all its answers; without, every answer has a copy of its own.
    multiple: of which the row's length is one, by a tree at its end of tokens that nothing depends on.
    """
    rows, time = batch.response_ids.shape
    owner = batch.prompt_index.tolist() if sharing else list(range(rows))
    clock = torch.arange(time, device=batch.response_ids.device)
    prompts, mask = places_of(batch.prompt_ids), batch.prompt_mask
    answers = places_of(batch.response_ids) + prompts.numel()
    if not sharing:
        prompts, mask = prompts[batch.prompt_index], mask[batch.prompt_index]
    computed = (batch.loss_mask * clock).amax(1).tolist()
    prompt_lengths = mask.sum(1).tolist()
    leaves: list[list[int]] = [[] for _ in prompt_lengths]
    for answer, prompt in enumerate(owner):
        leaves[prompt].append(answer)
    parts, starts, lasts, end = list[Tensor](), [0] * rows, [0] * rows, 0
    for prompt, length in enumerate(prompt_lengths):
        parts.append(prompts[prompt, prompts.shape[1] - length :])
        end += length
        root_last = end - 1
        for answer in leaves[prompt]:
            parts.append(answers[answer, : computed[answer]])
            starts[answer], lasts[answer] = end, root_last
            end += computed[answer]
    start, last = (torch.tensor(numbers, device=clock.device)[:, None] for numbers in (starts, lasts))
    before = torch.where(clock == 0, last, start + clock - 1)[batch.loss_mask]
    lengths = [
        (length, [computed[answer] for answer in continuing])
        for length, continuing in zip(prompt_lengths, leaves, strict=True)
    ]
    missing = -end % multiple
    if missing:
        lengths.append((missing, []))
        parts.append(parts[0].new_zeros(missing))
    return FlatRow(lengths, clock.device), torch.cat(parts)[None], before


def places_of(ids: Tensor) -> Tensor:
    """[rows, time] the number of each token of ids, row by row."""
    return torch.arange(ids.numel(), device=ids.device).view_as(ids)

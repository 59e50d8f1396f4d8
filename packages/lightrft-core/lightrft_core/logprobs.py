"""Log-probability and entropy of chosen tokens straight from hidden states, never holding a [tokens, vocab] tensor."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**24
"""Logits held at once on an accelerator: 64 MiB in float32, whatever the number of tokens and the vocabulary."""

CPU_CHUNK_ELEMENTS = 2**20
"""Logits held at once on a processor: 4 MiB in float32, which its cache holds."""

LEAST = -1e30
"""The logit of a token that is never chosen: finite, so that zero times it is zero."""

HALF_ROOM = 2**14
"""What a sum in float16 may come to, which holds numbers up to almost 2**16."""


def chosen_logprobs(
    hidden: Tensor,
    head: Tensor,
    token_ids: Tensor,
    *,
    temperature: float = 1.0,
    never: Sequence[int] = (),
    chunk_elements: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Score tokens under softmax(hidden @ head.T / temperature), with gradients for hidden and head.

    hidden: [tokens, dim] last hidden states, each one position before its token.
    head: [vocab, dim] the language-model head's weight.
    token_ids: [tokens] the tokens to score.
    never: tokens whose probability is 0, the others' being that much higher; they may not be scored.
    chunk_elements: None: what suits the device.
    Returns (logprobs, entropy), both [tokens] float32; entropy in nats. Memory: chunk_elements logits at a time, a tile
    of some tokens and a part of the vocabulary, in the backward pass too, which computes them again; beside them only
    the gradients, and of bfloat16 or float16 hidden states a sum in float32.

    In float16 neither the gradient of the logits overflows, however large the loss was scaled, nor its sums over a
    tile's tokens: powers of two are taken out of them and put back into what becomes of them.
    """
    chunk = chunk_elements or (CPU_CHUNK_ELEMENTS if hidden.device.type == "cpu" else CHUNK_ELEMENTS)
    law = _Law(temperature, tuple(never))
    return _ChosenLogprobs.apply(hidden, head, token_ids, law, chunk)  # type: ignore[no-any-return, no-untyped-call]


def _tiles(hidden: Tensor, head: Tensor, chunk: int) -> tuple[list[slice], list[slice]]:
    """Where to cut the tokens and the vocabulary: into squares, so that neither factor is read more than needed."""
    rows = max(1, min(len(hidden), max(isqrt(chunk), chunk // len(head))))
    columns = max(1, chunk // max(rows, head.shape[1]))
    return _slices(len(hidden), rows), _slices(len(head), columns)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


class _Law(NamedTuple):
    """softmax(logits / temperature) over all tokens but those that are never chosen."""

    temperature: float
    never: tuple[int, ...]

    def logits(self, hidden: Tensor, head: Tensor, columns: slice) -> Tensor:
        """[tokens, columns] over the temperature; those of the others so low that their probability is exactly 0."""
        logits = (hidden @ head[columns].T).to(torch.promote_types(hidden.dtype, torch.float32))
        if self.temperature != 1:
            logits.div_(self.temperature)
        excluded = [token - columns.start for token in self.never if columns.start <= token < columns.stop]
        if excluded:
            logits[:, excluded] = LEAST
        return logits


def _unit(dtype: torch.dtype, *gradients: Tensor | None) -> Tensor | None:
    """Scalar, a power of two near the largest of these gradients where the dtype's range is narrow; None elsewhere."""
    if dtype != torch.float16:
        return None
    largest = torch.stack([gradient.abs().amax() for gradient in gradients if gradient is not None]).amax()
    return torch.where(largest > 0, largest.log2().floor().exp2(), 1.0)


def _summed(grad: Tensor, hidden: Tensor) -> Tensor:
    """grad.T @ hidden, [columns, dim]: in float16 of hidden states so much smaller that no sum over tokens overflows.

    Of float16 the result is in float32. Where nothing could overflow the power of two taken out is 1.
    """
    if hidden.dtype != torch.float16:
        return grad.T @ hidden
    largest, larger = (torch.linalg.vector_norm(tensor, inf).float() for tensor in (grad, hidden))
    room = (largest * larger * (len(hidden) / HALF_ROOM)).log2().ceil().clamp(min=0).exp2()
    total: Tensor = (grad.T @ (hidden * room.reciprocal())).float() * room
    return total


def _within(token_ids: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Both [tokens, 1]: the tokens' columns in this part of the vocabulary, any for those outside; which are inside."""
    places = token_ids[:, None] - columns.start
    width = columns.stop - columns.start
    return places.clamp(0, width - 1), (places >= 0) & (places < width)


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, token_ids: Tensor, law: _Law, chunk: int
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        logprobs, normaliser, entropy = (hidden.new_zeros(len(hidden), dtype=exact) for _ in range(3))
        parts, vocabulary = _tiles(hidden, head, chunk)
        for part in parts:
            # One tensor each for all tiles: a small one that outlives its tile keeps the tile's memory from the next.
            tops, sums, dots = normaliser.new_empty(3, len(vocabulary), part.stop - part.start)
            for number, columns in enumerate(vocabulary):
                logits = law.logits(hidden[part], head, columns)
                places, inside = _within(token_ids[part], columns)
                logprobs[part] += torch.where(inside, logits.gather(-1, places), 0)[:, 0]
                tops[number] = logits.amax(-1)
                p = logits.sub_(tops[number, :, None]).exp()
                sums[number] = p.sum(-1)
                dots[number] = torch.einsum("tv,tv->t", p, logits)
            top = tops.amax(0)
            shift = tops - top
            scale = shift.exp()
            total = (scale * sums).sum(0)
            weighted = (scale * (dots + shift * sums)).sum(0)
            logprobs[part] = (logprobs[part] - top) - total.log()
            normaliser[part] = top + total.log()
            entropy[part] = total.log() - weighted / total
        ctx.save_for_backward(hidden, head, token_ids, normaliser, entropy)
        ctx.law, ctx.chunk = law, chunk
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, head, token_ids, normaliser, entropy = ctx.saved_tensors
        grad_logprobs = torch.zeros_like(normaliser) if grad_logprobs is None else grad_logprobs
        hidden_learns, head_learns = ctx.needs_input_grad[:2]
        grad_hidden = torch.zeros_like(hidden, dtype=normaliser.dtype) if hidden_learns else None
        grad_head = torch.empty_like(head) if head_learns else None
        unit = _unit(hidden.dtype, grad_logprobs, grad_entropy) if len(hidden) else None
        if unit is not None:
            grad_logprobs = grad_logprobs / unit
            grad_entropy = None if grad_entropy is None else grad_entropy / unit
        parts, vocabulary = _tiles(hidden, head, ctx.chunk)
        # d logprob / d logits = onehot - p;  d entropy / d logits = -p (log p + H)
        for columns in vocabulary:
            total = torch.zeros_like(head[columns], dtype=normaliser.dtype)
            for part in parts:
                log_p = ctx.law.logits(hidden[part], head, columns).sub_(normaliser[part, None])
                if grad_entropy is None:
                    grad = log_p.exp_().mul_(-grad_logprobs[part, None])
                else:
                    p = log_p.exp()
                    grad = log_p.add_(entropy[part, None]).mul_(-grad_entropy[part, None])
                    grad.sub_(grad_logprobs[part, None]).mul_(p)
                places, inside = _within(token_ids[part], columns)
                grad.scatter_add_(-1, places, grad_logprobs[part, None] * inside)
                grad = grad.div_(ctx.law.temperature).to(hidden.dtype)
                if grad_hidden is not None:
                    grad_hidden[part] += grad @ head[columns]
                if grad_head is not None:
                    total += _summed(grad, hidden[part])
            if grad_head is not None:
                grad_head[columns] = total if unit is None else total.mul_(unit)
        if grad_hidden is not None and unit is not None:
            grad_hidden.mul_(unit)
        return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_head, None, None, None

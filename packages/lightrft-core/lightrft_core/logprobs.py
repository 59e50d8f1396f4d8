"""Log-probability and entropy of chosen tokens straight from hidden states, never holding a [tokens, vocab] tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**23
"""Logits held at once: 32 MiB in float32, whatever the vocabulary."""


def chosen_logprobs(
    hidden: Tensor, head: Tensor, token_ids: Tensor, *, temperature: float = 1.0, chunk_elements: int = CHUNK_ELEMENTS
) -> tuple[Tensor, Tensor]:
    """Score tokens under softmax(hidden @ head.T / temperature), with gradients for hidden and head.

    hidden: [tokens, dim] last hidden states, each one position before its token.
    head: [vocab, dim] the language-model head's weight.
    token_ids: [tokens] the tokens to score.
    Returns (logprobs, entropy), both [tokens] float32; entropy in nats. Memory: chunk_elements logits at a time, in the
    backward pass too, which computes them again.
    """
    chunk = max(1, chunk_elements // head.shape[0])
    return _ChosenLogprobs.apply(hidden, head, token_ids, temperature, chunk)  # type: ignore[no-any-return, no-untyped-call]


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ head.T).to(torch.promote_types(hidden.dtype, torch.float32))
    return logits if temperature == 1 else logits.div_(temperature)


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, token_ids: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        normaliser, logprobs, entropy = [], [], []
        for rows, ids in zip(torch.split(hidden, chunk), torch.split(token_ids, chunk), strict=True):
            logits = _logits(rows, head, temperature)
            log_p = logits.log_softmax(-1)
            logprobs.append(log_p.gather(-1, ids[:, None])[:, 0])
            normaliser.append(logits.gather(-1, ids[:, None])[:, 0] - logprobs[-1])
            entropy.append(-torch.einsum("tv,tv->t", torch.exp(log_p, out=logits), log_p))
        ctx.save_for_backward(hidden, head, token_ids, torch.cat(normaliser), torch.cat(entropy))
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.set_materialize_grads(False)
        return torch.cat(logprobs), torch.cat(entropy)

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, head, token_ids, normaliser, entropy = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=normaliser.dtype)
        for start in range(0, len(hidden), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            log_p = _logits(hidden[part], head, ctx.temperature).sub_(normaliser[part, None])
            p = log_p.exp()
            # d logprob / d logits = onehot - p;  d entropy / d logits = -p (log p + H)
            if grad_entropy is None:
                grad = p
                grad.mul_(-grad_logprobs[part, None] if grad_logprobs is not None else 0.0)
            else:
                grad = log_p.add_(entropy[part, None]).mul_(-grad_entropy[part, None])
                if grad_logprobs is not None:
                    grad.sub_(grad_logprobs[part, None])
                grad.mul_(p)
            if grad_logprobs is not None:
                grad.scatter_add_(-1, token_ids[part, None], grad_logprobs[part, None])
            grad = grad.div_(ctx.temperature).to(hidden.dtype)
            grad_hidden[part] = grad @ head
            grad_head += grad.T @ hidden[part]
        return grad_hidden, grad_head.to(head.dtype), None, None, None

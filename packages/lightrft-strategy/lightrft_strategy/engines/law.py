"""The law a token is drawn from, and the draw."""

from __future__ import annotations

import torch
from torch import Tensor

from lightrft_core import SamplingParams

BLOCK = 256
"""Width of a block in the two-level search for a drawn token."""


def truncate(logits: Tensor, sampling: SamplingParams) -> Tensor:
    """Tempered logits [rows, vocab] with -inf where top-k or top-p leave no chance; top-k first, as elsewhere."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        out = (before >= sampling.top_p).scatter(-1, order, before >= sampling.top_p)
        logits = logits.masked_fill(out, -torch.inf)
    return logits


def draw(logits: Tensor, uniforms: Tensor, sampling: SamplingParams) -> tuple[Tensor, Tensor]:
    """Draw one token a row by inverting the law's distribution function.

    logits: [rows, vocab] float32. uniforms: [rows] float64 in [0, 1), ignored when greedy.
    Returns (tokens, logprobs), both [rows]: log-probability under the very law drawn from, temperature, top-p and top-k
    applied; for a greedy choice, which has no randomness to weigh, under temperature 1.
    """
    if sampling.greedy:
        tokens = logits.argmax(-1)
        return tokens, _chosen(logits.log_softmax(-1), tokens)
    logprobs = truncate(logits, sampling).log_softmax(-1)
    rows, vocab = logprobs.shape
    blocks = torch.nn.functional.pad(logprobs.exp(), (0, -vocab % BLOCK)).view(rows, -1, BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = uniforms.to(sums) * sums[:, -1]
    block = torch.searchsorted(sums, target[:, None], right=True)
    rest = target - sums.gather(-1, (block - 1).clamp(min=0))[:, 0] * (block[:, 0] > 0)
    within = blocks[torch.arange(rows, device=block.device), block[:, 0]].double().cumsum(-1)
    # Two roundings of one sum may leave `rest` a hair above the block's own: the last possible token is then meant.
    offset = torch.searchsorted(within, rest.minimum(within[:, -1] * (1 - 1e-12))[:, None], right=True)
    tokens = (block * BLOCK + offset)[:, 0]
    return tokens, _chosen(logprobs, tokens)


def _chosen(logprobs: Tensor, tokens: Tensor) -> Tensor:
    return logprobs.gather(-1, tokens[:, None])[:, 0]

"""A scalar reward model: what a backbone reads, pooled to one vector, times one row of a head for each output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lightrft_rewards.models.batches import ContestBatch
from lightrft_strategy.hidden import hidden_of_prompts
from lightrft_strategy.reading import TEXT, Reader

POOLINGS = ("last", "mean", "attention")
"""The last token; the mean over all tokens; their mean weighted by one learned query."""


@dataclass(frozen=True)
class RewardOutput:
    """What a reward model says of what a batch asks it to score, float32 or wider.

    means: [scored, heads] the rewards. log_variances: [scored, heads] how uncertain they are; None: it does not say.
    """

    means: Tensor
    log_variances: Tensor | None = None


class RewardModel(nn.Module):
    """Maps a ContestBatch to a RewardOutput.

    model: a Hugging Face model, whole or without its output head, which is taken off; reader: how it reads passages.
    heads: what is judged; each has one row of the head, or two, mean and log-variance, if uncertain.
    pooling: one of POOLINGS; padding takes no part in any. A passage's steps are scored at their last tokens instead.
    probing_layer: compute the first so many decoder layers alone, then the model's last norm; the others are dropped
    from the model, for good. -1: all layers.
    seed: of the head's first rows, normal with variance 1 / (dim + 1) (Stiennon et al. 2020, arXiv 2009.01325,
    appendix B.1). A query begins at zero: as the mean.
    Raises ValueError for a probing_layer that the model does not have, and for heads or a pooling that cannot be.
    """

    def __init__(
        self,
        model: Any,
        *,
        heads: Sequence[str] = ("score",),
        pooling: str = "last",
        uncertain: bool = False,
        probing_layer: int = -1,
        reader: Reader = TEXT,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not heads or len(set(heads)) < len(heads) or not all(heads):
            raise ValueError(f"heads must have names, each another one, not {list(heads)}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling}: there are {', '.join(POOLINGS)}")
        self.heads, self.uncertain, self.reader = tuple(heads), uncertain, reader
        keep_layers(reader.decoder(model), probing_layer)
        self.model = reader.headless(model)
        dim = int(model.config.get_text_config().hidden_size)
        self.pooling, self.query = pooling, Query(dim) if pooling == "attention" else None
        self.score = Head(dim, len(self.heads) * (2 if uncertain else 1), seed)

    def forward(self, batch: ContestBatch) -> RewardOutput:
        """The rewards of the batch's passages, or of their steps, whatever is padded and stands beside them."""
        hidden = hidden_of_prompts(self.model, batch, self.reader)
        rows = batch.prompt_index[batch.passage]
        if batch.places is None:
            pooled = self._pooled(hidden, batch.prompt_mask)[rows]
        else:
            pooled = hidden[rows, batch.prompt_mask.int().argmax(1)[rows] + batch.places]
        scores = self.score(pooled)
        if not self.uncertain:
            return RewardOutput(scores)
        return RewardOutput(scores[:, 0::2], scores[:, 1::2])

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[prompts, dim]"""
        if self.pooling == "last":
            return last_token(hidden, mask)
        return weighted_mean(hidden, mask.to(wide(hidden.dtype)) if self.query is None else self.query(hidden, mask))


class Head(nn.Linear):
    """Rows of a linear head without bias, computed in float32 or wider."""

    def __init__(self, dim: int, rows: int, seed: int = 0) -> None:
        super().__init__(dim, rows, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.weight.copy_(torch.randn(rows, dim, generator=generator) / sqrt(dim + 1))

    def forward(self, input: Tensor) -> Tensor:
        """[n, rows] of [n, dim]."""
        dtype = wide(input.dtype)
        return linear(input.to(dtype), self.weight.to(dtype))


class Query(nn.Module):
    """One learned query: attention of a single head over the tokens that are real (Lee et al. 2019, arXiv 1810.00825).

    The keys and values are the hidden states themselves.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[rows, time] the share of each token, 0 in padding."""
        dtype = wide(hidden.dtype)
        agreement = hidden.to(dtype) @ self.weight.to(dtype) / sqrt(len(self.weight))
        return agreement.masked_fill(~mask, -torch.inf).softmax(1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """[rows, dim] of hidden [rows, time, dim] the last one that is no padding."""
    clock = torch.arange(mask.shape[1], device=mask.device)
    return hidden[torch.arange(len(hidden), device=mask.device), (clock * mask).argmax(1)]


def weighted_mean(hidden: Tensor, weights: Tensor) -> Tensor:
    """[rows, dim] the mean of hidden [rows, time, dim] by weights [rows, time], those of padding 0."""
    shares = weights / weights.sum(1, keepdim=True)
    real = hidden.to(weights.dtype).masked_fill(weights[:, :, None] == 0, 0.0)
    return torch.einsum("rt,rtd->rd", shares, real)


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 of it."""
    return torch.promote_types(dtype, torch.float32)


def keep_layers(decoder: Any, count: int) -> None:
    """Drop a decoder's layers behind the first `count`, of its configuration too; -1: none.

    Raises ValueError if it has not so many, or no list of them.
    """
    config = decoder.config
    have = int(config.num_hidden_layers)
    if not (count == -1 or 1 <= count <= have):
        raise ValueError(f"probing layer {count}: {type(decoder).__name__} has the layers 1 to {have}; -1 means all")
    if count in (-1, have):
        return
    lists = (
        (part, name, child)
        for part in decoder.modules()
        for name, child in part.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == have
    )
    found = next(lists, None)
    if found is None:
        raise ValueError(f"{type(decoder).__name__} has no list of its {have} layers: leave the probing layer at -1")
    part, name, layers = found
    setattr(part, name, layers[:count])
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = list(config.layer_types[:count])

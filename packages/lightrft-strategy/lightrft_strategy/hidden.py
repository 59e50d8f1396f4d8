"""Hidden states of a batch's answers: a prompt is computed once for all answers that continue it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from lightrft_core import Batch
from lightrft_strategy.packing import flatten, packed_hidden
from lightrft_strategy.ulysses import SequenceGroup


def score_tokens(
    model: Any,
    batch: Batch,
    score: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    *,
    packing: bool = False,
    sharing: bool = True,
    sequence_group: SequenceGroup | None = None,
) -> tuple[Tensor, ...]:
    """What score(hidden [n, dim] one position before n loss tokens, their ids [n]) -> [n] each says of all of them.

    sequence_group: the ranks that compute the batch's packed row together and score a part of its loss tokens each.
    """
    tokens = batch.response_ids[batch.loss_mask]
    if sequence_group is None:
        return score(hidden_before_tokens(model, batch, packing=packing, sharing=sharing), tokens)
    row, ids, before = flatten(batch, sharing=sharing, multiple=sequence_group.size)
    hidden = packed_hidden(model, row, ids, sequence_group)
    owned, places = sequence_group.owned(before, row.tokens)
    scores = score(hidden.index_select(0, places), tokens[owned])
    return sequence_group.together(scores, owned, len(tokens))


def hidden_before_tokens(model: Any, batch: Batch, *, packing: bool = False, sharing: bool = True) -> Tensor:
    """[tokens, dim] the last hidden states of a causal language model one position before each loss token.

    packing: compute one row without padding, for which pack_attention(model) was called; without, padded rows through
    the model's own attention. sharing: compute a prompt once for all its answers; padded rows under gradient
    checkpointing cannot.
    """
    if packing:
        row, ids, before = flatten(batch, sharing=sharing)
        return packed_hidden(model, row, ids).index_select(0, before)
    hidden = _shared if shares(model, packing=packing, sharing=sharing) else _unshared
    return hidden(model, batch)[batch.loss_mask]


def shares(model: Any, *, packing: bool, sharing: bool) -> bool:
    """Whether hidden_before_tokens computes a prompt once for all its answers."""
    return sharing and (packing or not model.is_gradient_checkpointing)


def _shared(model: Any, batch: Batch) -> Tensor:
    """[batch, response_time, dim] hidden states one position before each response token.

    The responses attend to their prompt's keys and values, which carry its gradient. The model is called twice even
    for responses of one token: ranks that hold it in shards call it equally often.
    """
    cache = DynamicCache(config=model.config)
    prompts = _hidden(model, batch.prompt_ids, batch.prompt_mask, cache)
    copies = torch.bincount(batch.prompt_index)
    for layer in cache.layers:
        layer.batch_repeat_interleave(copies)
    last, length = prompts[batch.prompt_index, -1:], batch.response_ids.shape[1] - 1
    answers = _hidden(model, batch.response_ids[:, : max(1, length)], batch.prompt_mask[batch.prompt_index], cache)
    return torch.cat([last, answers[:, :length]], 1)


def _unshared(model: Any, batch: Batch) -> Tensor:
    """The same with a copy of its prompt for every answer, and no keys and values handed on."""
    ids = torch.cat([batch.prompt_ids[batch.prompt_index], batch.response_ids[:, :-1]], 1)
    hidden = _hidden(model, ids, batch.prompt_mask[batch.prompt_index], None)
    return hidden[:, batch.prompt_ids.shape[1] - 1 :]


def _hidden(model: Any, ids: Tensor, prompt_mask: Tensor, cache: DynamicCache | None) -> Tensor:
    """[rows, time, dim] of ids [rows, time], the tokens after those in the cache.

    Padding on the right needs no mask: attention is causal.
    """
    past = cache.get_seq_length() if cache is not None else 0
    answer = prompt_mask.new_ones(len(ids), past + ids.shape[1] - prompt_mask.shape[1])
    real = torch.cat([prompt_mask, answer], 1)
    positions = (real.cumsum(1) - 1).clamp(min=0)[:, past:]
    return model.base_model(  # type: ignore[no-any-return]
        input_ids=ids,
        attention_mask=None if real.all() else real,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state

"""Hidden states of a batch's answers: a prompt is computed once for all answers that continue it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from lightrft_core import Batch


def hidden_before_tokens(model: Any, batch: Batch) -> Tensor:
    """[tokens, dim] the last hidden states of a causal language model one position before each loss token."""
    hidden = _unshared(model, batch) if model.is_gradient_checkpointing else _shared(model, batch)
    return hidden[batch.loss_mask]


def _shared(model: Any, batch: Batch) -> Tensor:
    """[batch, response_time, dim] hidden states one position before each response token.

    The responses attend to their prompt's keys and values, which carry its gradient.
    """
    cache = DynamicCache(config=model.config)
    prompts = _hidden(model, batch.prompt_ids, batch.prompt_mask, cache)
    copies = torch.bincount(batch.prompt_index)
    for layer in cache.layers:
        layer.batch_repeat_interleave(copies)
    last = prompts[batch.prompt_index, -1:]
    if batch.response_ids.shape[1] == 1:
        return last
    answers = _hidden(model, batch.response_ids[:, :-1], batch.prompt_mask[batch.prompt_index], cache)
    return torch.cat([last, answers], 1)


def _unshared(model: Any, batch: Batch) -> Tensor:
    """The same without keys and values handed on, which gradient checkpointing cannot do."""
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

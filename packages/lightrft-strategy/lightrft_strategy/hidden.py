"""Hidden states of a batch's answers: a prompt is computed once for all answers that continue it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from lightrft_core import Batch
from lightrft_strategy.looking_ahead import looking_ahead_masks
from lightrft_strategy.packing import flatten, packed_hidden, places_of
from lightrft_strategy.reading import TEXT, Reader, Reading
from lightrft_strategy.sequence import SequenceGroup, together


def score_tokens(
    model: Any,
    batch: Batch,
    score: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    *,
    reader: Reader = TEXT,
    packing: bool = False,
    sharing: bool = True,
    sequence_group: SequenceGroup | None = None,
) -> tuple[Tensor, ...]:
    """What score(hidden [n, dim] one position before n loss tokens, their ids [n]) -> [n] each says of all of them.

    sequence_group: the ranks that compute the batch's packed row together and score a part of its loss tokens each.
    """
    tokens = batch.response_ids[batch.loss_mask]
    if sequence_group is None:
        return score(hidden_before_tokens(model, batch, reader, packing=packing, sharing=sharing), tokens)
    hidden, before, length = _packed(model, batch, reader, sharing, sequence_group)
    owned, places = sequence_group.owned(before, length)
    scores = score(hidden.index_select(0, places), tokens[owned])
    return together(sequence_group.group, scores, owned, len(tokens))


def hidden_before_tokens(
    model: Any, batch: Batch, reader: Reader = TEXT, *, packing: bool = False, sharing: bool = True
) -> Tensor:
    """[tokens, dim] the last hidden states of a causal language model one position before each loss token.

    reader: how it reads prompts. packing: compute one row without padding, for which pack_attention(model) was called;
    without, padded rows through the model's own attention. sharing: compute a prompt once for all its answers; padded
    rows under gradient checkpointing cannot.
    """
    if packing:
        hidden, before, _ = _packed(model, batch, reader, sharing, None)
        return hidden.index_select(0, before)
    rows = _shared if shares(model, packing=packing, sharing=sharing) else _unshared
    return rows(reader.read(model, batch), batch)[batch.loss_mask]


def hidden_of_prompts(model: Any, batch: Batch, reader: Reader = TEXT) -> Tensor:
    """[prompts, time, dim] the last hidden states of the batch's prompts, those of padding among them."""
    reading = reader.read_prompts(model, batch.prompt_ids, batch.prompt_mask, batch.media)
    return _hidden(reading, places_of(batch.prompt_ids), batch.prompt_mask, None)


def shares(model: Any, *, packing: bool, sharing: bool) -> bool:
    """Whether hidden_before_tokens computes a prompt once for all its answers."""
    return sharing and (packing or not model.is_gradient_checkpointing)


def _packed(
    model: Any, batch: Batch, reader: Reader, sharing: bool, sequence_group: SequenceGroup | None
) -> tuple[Tensor, Tensor, int]:
    """(this rank's hidden states of the batch as one row, where in the row each loss token's is, the row's length)."""
    row, places, before = flatten(batch, sharing=sharing, multiple=sequence_group.multiple if sequence_group else 1)
    reading = reader.read(model, batch)
    blocks = reading.blocks(places)
    if blocks is not None:
        row.look_ahead(blocks[0])
    own = sequence_group.own(places) if sequence_group else places
    return packed_hidden(reading.decoder, row, reading.inputs(own), sequence_group), before, row.tokens


def _shared(reading: Reading, batch: Batch) -> Tensor:
    """[batch, response_time, dim] hidden states one position before each response token.

    The responses attend to their prompt's keys and values, which carry its gradient. The decoder is called twice even
    for responses of one token: ranks that hold it in shards call it equally often.
    """
    cache = DynamicCache(config=reading.decoder.config)
    prompt_places = places_of(batch.prompt_ids)
    prompts = _hidden(reading, prompt_places, batch.prompt_mask, cache)
    copies = torch.bincount(batch.prompt_index)
    for layer in cache.layers:
        layer.batch_repeat_interleave(copies)
    last, length = prompts[batch.prompt_index, -1:], batch.response_ids.shape[1] - 1
    places = (places_of(batch.response_ids) + prompt_places.numel())[:, : max(1, length)]
    answers = _hidden(reading, places, batch.prompt_mask[batch.prompt_index], cache)
    return torch.cat([last, answers[:, :length]], 1)


def _unshared(reading: Reading, batch: Batch) -> Tensor:
    """The same with a copy of its prompt for every answer, and no keys and values handed on."""
    prompts = places_of(batch.prompt_ids)
    answers = places_of(batch.response_ids)[:, :-1] + prompts.numel()
    places = torch.cat([prompts[batch.prompt_index], answers], 1)
    hidden = _hidden(reading, places, batch.prompt_mask[batch.prompt_index], None)
    return hidden[:, batch.prompt_ids.shape[1] - 1 :]


def _hidden(reading: Reading, places: Tensor, prompt_mask: Tensor, cache: DynamicCache | None) -> Tensor:
    """[rows, time, dim] of the tokens at places [rows, time], which come after those in the cache.

    Padding on the right needs no mask: attention is causal.
    """
    past = cache.get_seq_length() if cache is not None else 0
    answer = prompt_mask.new_ones(len(places), past + places.shape[1] - prompt_mask.shape[1])
    real = torch.cat([prompt_mask, answer], 1)
    mask: Any = None if real.all() else real
    blocks = reading.blocks(places) if past == 0 else None
    if blocks is not None:
        mask = looking_ahead_masks(reading.decoder.config, real, blocks)
    return reading.decoder(  # type: ignore[no-any-return]
        **reading.inputs(places),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state

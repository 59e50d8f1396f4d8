"""The attention of packed rows as transformers calls it, and which models it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lightrft_strategy.packing.flex import flexible_attention
from lightrft_strategy.packing.piecewise import piecewise_attention
from lightrft_strategy.packing.row import FlatRow
from lightrft_strategy.reading import TEXT, Reader
from lightrft_strategy.sequence import SequenceGroup

NAME = "lightrft_packed"
"""What transformers calls this attention."""

_UNKNOWN = ("softcap", "s_aux", "position_bias")
"""What a model may ask of its attention that ours does not do."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    flat_row: FlatRow | None = None,
    sequence_group: SequenceGroup | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer over a packed row, or transformers' own (sdpa) where no row is given.

    query: [1, heads, tokens, dim]. key, value: [1, key heads, tokens, dim]. Returns ([1, tokens, heads, dim], None).
    attention_mask: not read with a row. sequence_group: the ranks that have the row's tokens, each those of its slice.
    Raises ValueError if the model wants more of attention than scaling and a sliding window.
    """
    if flat_row is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    wanted = [name for name in _UNKNOWN if others.get(name) is not None] + ["dropout"] * (dropout > 0)
    if wanted:
        raise ValueError(f"the attention of packed rows knows no {', '.join(wanted)}")
    whole_row = attend_row if sequence_group is None else sequence_group.attend
    return whole_row(query, key, value, flat_row, scaling or query.shape[-1] ** -0.5, sliding_window), None


def attend_row(query: Tensor, key: Tensor, value: Tensor, row: FlatRow, scale: float, window: int | None) -> Tensor:
    """[1, tokens, heads, value dim] of all tokens; query, key, value: [1, heads|key heads, tokens, dim|value dim]."""
    attention = piecewise_attention if query.device.type == "cpu" else flexible_attention
    return attention(query, key, value, row, scale, window).transpose(1, 2)


def packed_hidden(
    decoder: Any, row: FlatRow, inputs: Mapping[str, Any], sequence_group: SequenceGroup | None = None
) -> Tensor:
    """[tokens, dim] the last hidden states of a decoder whose attention is ours.

    inputs: what the row's tokens are to it (Reading.inputs). sequence_group: the ranks that compute the row together:
    each has the inputs and the hidden states of its own slice.
    A mask of four dimensions is what transformers hands on as it is, so that none is built.
    """
    if decoder.config._attn_implementation != NAME:
        raise ValueError("a packed row needs its own attention: call pack_attention(model) once before")
    return decoder(  # type: ignore[no-any-return]
        **inputs,
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=row.positions.device),
        use_cache=False,
        flat_row=row,
        sequence_group=sequence_group,
    ).last_hidden_state[0]


@torch.no_grad()
def pack_attention(model: Any, reader: Reader = TEXT) -> None:
    """Let a language model's decoder compute packed rows from now on; without a row it computes as with sdpa.

    The choice stays with the model: gradient checkpointing computes again in the backward pass.
    Raises ValueError, naming the model and leaving it as it was, if a packed row would give it other hidden states than
    each sequence alone: linear attention, chunks, soft caps, sinks, a window that attention is not told of. A model
    without weights (on the meta device) is not asked.
    """
    decoder = reader.decoder(model)
    config, before = decoder.config, decoder.config._attn_implementation
    if before == NAME:
        return
    if before != "sdpa":
        raise ValueError(
            f"packing brings its own attention, and {type(model).__name__} is to have {before!r}: load it without "
            "attn_implementation or turn packing off"
        )
    config._attn_implementation = NAME
    if decoder.get_input_embeddings().weight.is_meta:
        return
    try:
        problem = _problem(decoder, config)
    except ValueError as error:
        problem = str(error)
    if problem:
        config._attn_implementation = before
        raise ValueError(f"{type(model).__name__} cannot compute packed rows ({problem}): turn packing off")


@contextmanager
def on_any_device(decoder: Any) -> Iterator[None]:
    """Within, a decoder attends as every device can in every precision: by sdpa, if not eagerly already."""
    config, before = decoder.config, decoder.config._attn_implementation
    if before != "eager":
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before


def _problem(decoder: Any, config: Any) -> str:
    kinds = getattr(config, "layer_types", None)
    odd = set(kinds or ()) - {"full_attention", "sliding_attention"}
    if odd:
        return f"layers of {', '.join(sorted(odd))}"
    window = getattr(config, "sliding_window", None)
    windows = {window if kind == "sliding_attention" else None for kind in kinds} if kinds else {window}
    row = FlatRow([(2, [2, 1, 2]), (3, [1]), (1, [])], decoder.device)
    ids = torch.arange(1, row.tokens + 1, device=decoder.device)[None]
    packed = packed_hidden(decoder, row, {"input_ids": ids, "position_ids": row.positions})
    if set(row.plans) != windows:
        told, said = (", ".join(sorted(map(str, each))) for each in (row.plans, windows))
        return f"attention is told of windows {told} and its configuration says {said}"
    for places in ([0, 1, 2, 3], [0, 1, 4], [0, 1, 5, 6], [7, 8, 9, 10], [11]):
        alone = decoder(input_ids=ids[:, places], use_cache=False).last_hidden_state[0]
        tolerance = 1e-4 if alone.dtype in (torch.float32, torch.float64) else 3e-2
        if not (packed[places] - alone).norm() <= tolerance * alone.norm():
            return "its hidden states are not those of each sequence alone"
    return ""


def left_as_it_is() -> None:
    """Let torch.compile call this attention from its graphs, and not look into it."""
    AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)

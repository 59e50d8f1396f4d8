"""What a model's passes cost, as far as the partition of work over ranks asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightrft_core import Cost
from lightrft_strategy.perception import Adapter


def cost_of(model: Any, adapter: Adapter | None = None) -> Cost:
    """Of a Hugging Face causal language model, whole and as it was loaded: see Cost.of_shape.

    A token passes through every matrix of the layers once, of a mixture's experts through those that are chosen for it.
    adapter: of a model that sees or hears: towers, as if they learn, cost for the tokens that stand for media.
    """
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    experts, chosen = _first(config, _EXPERTS), _first(config, _CHOSEN)
    share = chosen / experts if experts and chosen else 1.0
    embedded = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    towers = tuple(f"{name}." for names in adapter.towers.values() for name in names) if adapter else ()
    used = 0.0
    for name, weight in model.named_parameters():
        if weight.ndim >= 2 and id(weight) not in embedded and not name.startswith(towers):
            used += weight.numel() * (share if ".experts." in name else 1.0)
    cost = Cost.of_shape(config.num_attention_heads * width, config.num_hidden_layers, round(used))
    return replace(cost, media=tuple(adapter.tower_work(model).items())) if adapter else cost


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    return next((number for name in names if (number := getattr(config, name, None))), None)


_EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
"""What configurations call the number of experts that a token is sent to some of."""
_CHOSEN = ("num_experts_per_tok", "top_k_experts")
"""What they call the number of experts that it is sent to."""

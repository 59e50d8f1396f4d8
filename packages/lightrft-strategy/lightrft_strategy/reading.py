"""How a model reads a batch: its tokens as one list to pick rows from, with embeddings where media stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightrft_core import Batch, Media
from lightrft_strategy.perception import Adapter, Perception


@dataclass(frozen=True)
class Reader:
    """Reads prompts of tokens alone, or with an adapter also what they show and play.

    every_tower: run all towers for every batch, because ranks hold them in shards and call them together.
    """

    adapter: Adapter | None = None
    every_tower: bool = False

    def decoder(self, model: Any) -> Any:
        """The part of a Hugging Face model, or of its base model, that gives hidden states of tokens."""
        return model.base_model if self.adapter is None else self.adapter.decoder(model)

    @property
    def placeholders(self) -> tuple[int, ...]:
        """The token ids that no answer may hold."""
        return self.adapter.placeholders if self.adapter else ()

    def headless(self, model: Any) -> Any:
        """What of a model gives hidden states, without its output head."""
        return model.base_model if self.adapter is None else self.adapter.headless(model)

    def read(self, model: Any, batch: Batch) -> Reading:
        """The batch's prompts and the answers that continue them."""
        prompts = self.read_prompts(model, batch.prompt_ids, batch.prompt_mask, batch.media)
        return prompts.continued(batch.response_ids, batch.prompt_index)

    def read_prompts(self, model: Any, ids: Tensor, mask: Tensor, media: Sequence[Sequence[Media]]) -> Reading:
        """Prompts alone: ids, mask [prompts, time], padded on either side. The towers run here, once."""
        decoder = self.decoder(model)
        if self.adapter is None:
            if any(media):
                raise ValueError(f"{type(model).__name__} reads text alone, and prompts of this batch have media")
            return Reading(decoder, ids.flatten(), (mask.cumsum(1) - 1).clamp(min=0).view(1, -1), mask.sum(1))
        seen = self.adapter.perceive(model, ids, mask, media, every_tower=self.every_tower)
        return Reading(decoder, ids.flatten(), seen.positions.flatten(1), seen.following, seen)


TEXT = Reader()
"""Of models that read tokens alone."""


@dataclass(frozen=True)
class Reading:
    """Tokens, prompts' first and answers' after them, each known by its place in this list, padding included.

    decoder: maps them to hidden states. ids: [tokens]. positions: [axes, tokens].
    following: [prompts] the position of each prompt's first answer token.
    """

    decoder: Any
    ids: Tensor
    positions: Tensor
    following: Tensor
    perception: Perception | None = None

    def continued(self, response_ids: Tensor, prompt_index: Tensor) -> Reading:
        """The same with answers [batch, time] behind prompts prompt_index [batch]; the first is at place len(ids)."""
        clock = torch.arange(response_ids.shape[1], device=response_ids.device)
        positions = (self.following[prompt_index, None] + clock).view(1, -1).expand(len(self.positions), -1)
        ids = torch.cat([self.ids, response_ids.flatten()])
        return Reading(self.decoder, ids, torch.cat([self.positions, positions], 1), self.following, self.perception)

    def inputs(self, places: Tensor) -> dict[str, Any]:
        """What the decoder is called with, of its hidden states those at places [rows, time]."""
        ids, positions = self.ids[places], self.positions[:, places]
        named: dict[str, Any] = {"position_ids": positions if len(positions) > 1 else positions[0]}
        if self.perception is None:
            return named | {"input_ids": ids}
        which = self.which(places)
        seen = which >= 0
        embeds = self.decoder.get_input_embeddings()(ids.masked_fill(seen, 0))
        features = self.perception.features
        embeds = embeds.index_put((seen,), features[which[seen]].to(embeds.dtype))
        if self.perception.nothing is not None:
            embeds = embeds + self.perception.nothing.to(embeds.dtype)
        if self.perception.deep:
            deep = [layer[which[seen]].to(embeds.dtype) for layer in self.perception.deep]
            named |= {"visual_pos_masks": seen, "deepstack_visual_embeds": deep}
        return named | {"inputs_embeds": embeds}

    def which(self, places: Tensor) -> Tensor:
        """[rows, time] the feature that stands at each place; -1: none does."""
        assert self.perception is not None
        return _looked_up(self.perception.places, places)

    def blocks(self, places: Tensor) -> Tensor | None:
        """[rows, time] the block of tokens that each place looks ahead in, -1: none; None: nothing looks ahead."""
        if self.perception is None or self.perception.blocks is None:
            return None
        return _looked_up(self.perception.blocks, places)


def _looked_up(numbers: Tensor, places: Tensor) -> Tensor:
    """Of prompts' numbers [prompts, time] those at places; -1 at those of answers."""
    return torch.where(places < numbers.numel(), numbers.flatten()[places.clamp(max=numbers.numel() - 1)], -1)

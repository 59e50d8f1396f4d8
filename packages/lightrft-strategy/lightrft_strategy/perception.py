"""What a language model is given to see and hear: the seam between models of text and media of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from lightrft_core import Media, Prompt


@dataclass(frozen=True)
class Perception:
    """What the media of prompts become: an embedding in place of each of their placeholder tokens.

    features: [media tokens, dim].
    places: [prompts, time] which of them stands at a token; -1: the token's own embedding does.
    positions: [axes, prompts, time] rotary positions, one axis or three (M-RoPE); 0 in padding.
    following: [prompts] the position, on all axes, of the token after each prompt.
    deep: each [media tokens, dim], added to the hidden states behind the first, second, ... decoder layer at the same
    tokens (DeepStack, Meng et al. 2024, arXiv 2406.04334).
    nothing: scalar, a zero whose gradient reaches the towers that had nothing to read and ran nevertheless; None: there
    were none.
    blocks: [prompts, time] a number for tokens that see each other whatever their order, -1 elsewhere; None: no model
    of this family looks ahead.
    """

    features: Tensor
    places: Tensor
    positions: Tensor
    following: Tensor
    deep: tuple[Tensor, ...] = ()
    nothing: Tensor | None = None
    blocks: Tensor | None = None


@dataclass(frozen=True)
class EngineMedia:
    """A prompt as an engine of another project reads it, which expands its placeholders itself.

    token_ids: with what each medium is written as before it is expanded. media: by modality, in reading order, decoded:
    images as PIL images in RGB, videos as [frames, height, width, 3] uint8 with their metadata, sounds as
    ([time] float32, samples a second).
    """

    token_ids: tuple[int, ...]
    media: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])


class Adapter(Protocol):
    """A family of models that see or hear.

    placeholders: token ids that stand for media in prompts, and that no answer may hold.
    towers: modality -> the names, from the model's root, of the modules that turn it into embeddings.
    """

    placeholders: tuple[int, ...]
    towers: Mapping[str, tuple[str, ...]]

    def decoder(self, model: Any) -> nn.Module:
        """The part of a model that maps inputs_embeds to last_hidden_state; it has the table of embeddings."""
        ...

    def headless(self, model: Any) -> nn.Module:
        """What of a model is left without its output head: towers and decoder, which perceive and decoder take, too."""
        ...

    def perceive(
        self,
        model: Any,
        ids: Tensor,
        mask: Tensor,
        media: Sequence[Sequence[Media]],
        *,
        every_tower: bool = False,
    ) -> Perception:
        """Run the towers once over the media of prompts, ids and mask [prompts, time], padded on either side.

        Gradients reach towers that learn; the embeddings of towers that do not may be kept from call to call.
        every_tower: run all of them, those without anything to read on something small whose embeddings, times zero,
        are `nothing`: other ranks run them, too, and nobody may keep embeddings.
        Raises ValueError if a prompt's placeholders are not as many as its media's embeddings.
        """
        ...

    def tower_work(self, model: Any) -> Mapping[int, float]:
        """Multiply-adds of a tower's forward pass for one embedding, by the token id that it stands at."""
        ...

    def for_engine(self, prompt: Prompt) -> EngineMedia:
        """The prompt as engines of other projects take it."""
        ...

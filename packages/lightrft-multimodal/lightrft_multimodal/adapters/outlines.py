"""A family's towers over media of which only the size is known, by a config alone: what plans count with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lightrft_multimodal.adapters.adapter import MediaAdapter
from lightrft_multimodal.adapters.family import Family, Inputs
from lightrft_strategy.language import without_dropout


@dataclass(frozen=True)
class Outline:
    """A medium that shows and plays nothing. tokens: the embeddings made of it. sha256: tells it from others."""

    modality: str
    tokens: int
    sha256: str


class OutlineAdapter(MediaAdapter):
    """The adapter of a family and a config whose media are Outlines; it keeps their inputs, and no embeddings.

    Pixels and mel bands are on the meta device. Positions are 0, 1, 2, ... on all axes.
    Raises ValueError if the family's media have no outlines.
    """

    def __init__(self, family: Family, config: Any) -> None:
        if family.outlines is None:
            raise ValueError("what its towers read is not outlined")
        super().__init__(replace(family, positions=None), None, config, inputs_bytes=sys.maxsize, features_bytes=0)
        self.outlines = family.outlines

    def largest(self, modality: str, tokens: int) -> int:
        """The tokens of the largest medium of no more than so many; 0 if none is as small."""
        return self.outlines.largest(self.config, modality, tokens)

    def outlined(self, number: int, media: Sequence[tuple[str, int]]) -> tuple[Outline, ...]:
        """Media of one prompt, each by modality and tokens, with their inputs kept. number: tells it from others."""
        prompt = tuple(Outline(*medium, f"{number}.{place}") for place, medium in enumerate(media))
        inputs: dict[str, Tensor] = {}
        for modality in self.towers:
            tokens = [medium.tokens for medium in prompt if medium.modality == modality]
            if tokens:
                inputs |= self.outlines.inputs(self.config, modality, tokens)
        self._inputs.keep(tuple(medium.sha256 for medium in prompt), inputs)
        return prompt

    def blank(self, modality: str) -> Inputs:
        """As of the smallest medium that there may be."""
        tokens = next(size for power in range(32) if (size := self.largest(modality, 1 << power)))
        return self.outlines.inputs(self.config, modality, [tokens])

    def empty_model(self) -> Any:
        """A model of the config, float32 and without dropout, on the meta device; no weight is read.

        All of it learns, as of a model that Transformers has loaded, whatever its constructor froze.
        """
        kind = self.family.model_class()
        build = kind._from_config if issubclass(kind, PreTrainedModel) else kind.from_config
        with torch.device("meta"):
            model = build(self.config, dtype=torch.float32).float()
        return without_dropout(model.requires_grad_(True))

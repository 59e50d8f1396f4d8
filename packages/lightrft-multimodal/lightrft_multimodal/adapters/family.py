"""What makes a family of models: a value of plain functions, one a file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightrft_core import Media

Inputs: TypeAlias = Mapping[str, Tensor]
"""What the processor makes of a prompt's media together, by the names of its own, on the CPU."""

Key: TypeAlias = tuple[str, ...]
"""The hashes of a prompt's media, in reading order."""


@dataclass(frozen=True)
class Seen:
    """The embeddings of a prompt's placeholders of one kind, in reading order.

    features: [tokens, dim]. deep: each [tokens, dim], for the hidden states behind the first decoder layers.
    """

    features: Tensor
    deep: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Tower:
    """Modules that make embeddings of media.

    modalities: what it reads; of the first something blank where it runs only because other ranks run it.
    modules: their names in the base model, each of which features calls exactly once, and those of parameters it uses
    beside them.
    features: (base model, inputs of prompts with something to read) -> for each the embeddings by kind of placeholder.
    merged: config -> how many of its own tokens become one embedding of each kind, where it is not one.
    """

    modalities: tuple[str, ...]
    modules: tuple[str, ...]
    features: Callable[[Any, Sequence[Inputs]], Sequence[Mapping[str, Seen]]]
    merged: Callable[[Any], Mapping[str, float]] = lambda _: {}

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How the names of its parameters in the base model begin, a point after each."""
        return tuple(f"{name}." for name in self.modules)


@dataclass(frozen=True)
class Outlines:
    """Media of a family by their size alone.

    largest: (config, modality, tokens) -> the tokens of the largest medium of no more than so many; 0: there is none.
    inputs: (config, modality, tokens of each medium) -> what a processor would make of such media, on the meta device
    but for what towers look at: sizes and masks.
    """

    largest: Callable[[Any, str, int], int]
    inputs: Callable[[Any, str, Sequence[int]], Inputs]


@dataclass(frozen=True)
class Family:
    """How models of some model_types see and hear.

    model_class: the class of transformers that loads them.
    placeholders: config -> the token id of each kind of placeholder.
    root: where their base model is in the whole model, "" if it is the whole model.
    decoder: the name of the decoder in the base model.
    positions: (base model, ids [time] without padding, inputs) -> [axes, time]; None: 0, 1, 2, ... on one axis.
    axes: how many there are.
    blocks: (ids, mask [prompts, time], placeholders) -> Perception.blocks; None: no token looks ahead.
    written: (processor, modality) -> what a medium is written as before the processor expands it.
    finish: (processor, media, inputs of the processor) -> the inputs.
    headless: a whole model -> what is left without its output head.
    config: the config that knows the placeholders, in that of a checkpoint.
    engine_names: what weights' names begin with in the whole model -> in checkpoints as vLLM and SGLang read them; the
    first that fits; {}: as in the model.
    outlines: media by their size, for plans; None: no plan is made of the family.
    """

    model_class: Callable[[], Any]
    towers: tuple[Tower, ...]
    placeholders: Callable[[Any], Mapping[str, int]]
    root: str = "model"
    decoder: str = "language_model"
    positions: Callable[[Any, Tensor, Inputs], Tensor] | None = None
    axes: int = 1
    blocks: Callable[[Tensor, Tensor, Mapping[str, int]], Tensor] | None = None
    written: Callable[[Any, str], str] = lambda processor, modality: str(getattr(processor, f"{modality}_token"))
    finish: Callable[[Any, Sequence[Media], dict[str, Tensor]], dict[str, Tensor]] = lambda _, __, inputs: inputs
    headless: Callable[[Any], Any] = lambda model: model.base_model
    config: Callable[[Any], Any] = lambda config: config
    engine_names: Mapping[str, str] = field(default_factory=dict[str, str])
    outlines: Outlines | None = None


def image_text_model() -> Any:
    """The class of models that read images and text."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText


def joined(inputs: Sequence[Inputs], *names: str) -> list[Tensor]:
    """All tensors of these names, prompt by prompt, in the order of names."""
    return [one[name] for one in inputs for name in names if name in one]


def onto(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor where the parameter is and, if it counts nothing, as precise."""
    return tensor.to(parameter.device, parameter.dtype if torch.is_floating_point(tensor) else None)

"""A policy's weights as a checkpoint would name them: each storage once, LoRA merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lightrft_strategy.devices import device
from lightrft_strategy.training.full import full, tied
from lightrft_strategy.training.held import Held

ADAPTER_WORDS = ("base_model.model.", "base_layer.")
"""What peft puts into the names of a model it wraps."""


@dataclass(frozen=True)
class Published:
    """One tensor of a checkpoint. names: every name it goes by; tied weights have several."""

    names: tuple[str, ...]
    tensor: Tensor

    @property
    def bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


class WeightSource(Protocol):
    """The trainer's side of a hand-over."""

    def tensors(self) -> Iterator[Published]:
        """Every weight as it stands, in one fixed order."""
        ...

    def logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first, given those before it."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are computed in."""
        ...


class ModelWeights:
    """The weights of a Hugging Face causal language model; a peft adapter is merged.

    held: what holds the model, or a module around it; None: this process alone does, whole. Every rank that holds a
    part of it calls everything, and takes every weight.
    renamed: what names begin with -> what they begin with for an engine that calls weights otherwise.
    """

    def __init__(self, model: Any, held: Held | None = None, *, renamed: Mapping[str, str] | None = None) -> None:
        self.model, self.held, self.renamed = model, held, renamed or {}

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return (self.held and self.held.dtype) or dtype

    def tensors(self) -> Iterator[Published]:
        """Every weight once, tied names together; where an adapter sits on a layer, its sum with the layer's own.

        Raises ValueError for an adapter that no plain checkpoint of the model can hold.
        """
        deltas = _adapter_deltas(self.model)
        state = self.model.state_dict(keep_vars=True)
        for first, *others in tied({name: tensor for name, tensor in state.items() if ".lora_" not in name}):
            if others and not deltas.keys().isdisjoint((first, *others)):
                raise ValueError(
                    f"{first} is tied to {others[0]} and an adapter changes one of them alone: untie the model's "
                    "embeddings, or leave them out of the adapter's target_modules"
                )
            tensor, delta = full(state[first], self.held.dtype if self.held else None), deltas.get(first)
            if delta is not None:
                tensor = tensor + full(delta).to(tensor.dtype)
            yield Published(tuple(map(self._name, (first, *others))), tensor)

    @torch.no_grad()
    def logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first, given those before it."""
        training = self.model.training
        self.model.eval()
        ids = torch.tensor([list(token_ids)], device=device() if self.held else self.model.device)
        logits = self._run(lambda: self.model(input_ids=ids, use_cache=False).logits[0, :-1].float())
        self.model.train(training)
        chosen: list[float] = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist()
        return chosen

    def _name(self, name: str) -> str:
        name = _checkpoint_name(name)
        for ours, theirs in self.renamed.items():
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        return name

    def _run(self, function: Callable[[], Tensor]) -> Tensor:
        return self.held.gathered(function) if self.held else function()


def _checkpoint_name(name: str) -> str:
    for word in ADAPTER_WORDS:
        name = name.replace(word, "")
    return name


def _adapter_deltas(model: Any) -> dict[str, Tensor]:
    """What the active adapters add to a weight, by the name the weight has in the model's state.

    Raises ValueError for variants of LoRA that do more to a layer than add (DoRA and the like).
    """
    deltas: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and not module.merged:
            active = [adapter for adapter in module.active_adapters if adapter in module.scaling]
            variants = [module.lora_variant[adapter] for adapter in active if adapter in module.lora_variant]
            if variants:
                raise ValueError(
                    f"the adapter on {name} is {variants[0].__class__.__name__}, which is more than a sum with the "
                    "layer's weight and cannot be handed to an engine: use plain LoRA"
                )
            parts = [module.get_delta_weight(adapter) for adapter in active]
            if parts:
                deltas[f"{name}.base_layer.weight"] = torch.stack(parts).sum(0).detach()
    return deltas

"""How evenly the routers of a mixture of experts use its experts, on the tokens that a batch's loss depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from lightrft_core import Batch
from lightrft_strategy.packing import on_any_device


class Routing(NamedTuple):
    """What one router did. logits: [tokens, experts]. chosen: [tokens, k] the experts that each token went to."""

    logits: Tensor
    chosen: Tensor


class Routers:
    """Notes what the routers of a Hugging Face language model do, when asked to.

    They are those whose logits transformers itself can record. Raises ValueError, naming the model, if it has none, or
    they do not say which experts they chose.
    """

    def __init__(self, model: Any) -> None:
        self.name = type(model).__name__
        found = _routers(model.base_model)
        if not found:
            raise ValueError(f"{self.name} has no routers whose load could be balanced: leave --aux_loss_coef out")
        self.layers: list[list[Routing]] | None = None
        for layer, (router, index) in enumerate(found):
            router.register_forward_hook(partial(self._note, layer, index))
        self.number = len(found)
        if not model.get_input_embeddings().weight.is_meta:
            self._require_told(model)

    @contextmanager
    def noting(self) -> Iterator[list[list[Routing]]]:
        """Within, what each router did, call by call. Nothing is noted when activations are computed once more."""
        self.layers = [[] for _ in range(self.number)]
        try:
            yield self.layers
        finally:
            self.layers = None

    def _note(self, layer: int, index: int, router: nn.Module, inputs: object, output: Any) -> None:
        if self.layers is None:
            return
        parts = output if isinstance(output, tuple) else (output,)
        chosen = [
            part for part in parts if isinstance(part, Tensor) and not part.is_floating_point() and part.ndim == 2
        ]
        if len(chosen) != 1 or len(chosen[0]) != len(parts[index]):
            raise ValueError(
                f"the routers of {self.name} ({type(router).__name__}) do not say which experts each token went to: "
                "leave --aux_loss_coef out"
            )
        self.layers[layer].append(Routing(parts[index], chosen[0]))

    @torch.no_grad()
    def _require_told(self, model: Any) -> None:
        """Raise ValueError if the routers, which are this model's, do not say which experts they chose."""
        with self.noting(), on_any_device(model.base_model):
            model.base_model(input_ids=torch.arange(4, device=model.device)[None], use_cache=False)


def _routers(model: Any) -> list[tuple[nn.Module, int]]:
    """(router, where its logits stand in its output), layer by layer, as transformers describes them."""
    recorder = model.can_record_outputs.get("router_logits")
    kind = getattr(recorder, "target_class", None)
    if kind is None:
        return []
    place = f".{recorder.layer_name}." if recorder.layer_name else ""
    named = [(name, part) for name, part in model.named_modules() if isinstance(part, kind)]
    return [(part, recorder.index) for name, part in named if place in f".{name}."]


def load_balancing_loss(layers: Sequence[Sequence[Routing]], counts: Tensor) -> Tensor:
    """E * sum over experts of f_e P_e (Fedus et al. 2021, arXiv 2101.03961, eq. 4-6), as transformers computes it.

    f_e: how often a token went to expert e; P_e: its mean probability under the softmax of the logits; both over all
    tokens and all layers together, each token as often as counts [tokens] says. The gradient goes through P alone.
    Each token goes to k experts: the loss is k where all are used alike, and up to E where few are.
    """
    experts = layers[0][0].logits.shape[-1]
    exact = torch.promote_types(layers[0][0].logits.dtype, torch.float32)
    counts = counts.to(exact)
    chosen, probability = counts.new_zeros(experts), counts.new_zeros(experts)
    for calls in layers:
        logits, places = (torch.cat(parts) for parts in zip(*calls, strict=True))
        probability = probability + counts @ softmax(logits.to(exact), -1)
        chosen.scatter_add_(0, places.flatten(), counts.repeat_interleave(places.shape[1]))
    total = (len(layers) * counts.sum()).clamp(min=1)
    return experts * (chosen / total * (probability / total)).sum()


def read_counts(batch: Batch, *, packing: bool, sharing: bool) -> Tensor:
    """[computed tokens] how many of a batch's answers have loss that depends on each token, in the order of computing.

    packing, sharing: how hidden_before_tokens lays the batch out. Padding, and what stands behind the token before an
    answer's last loss token, counts 0; a prompt that is computed once counts for each of its answers.
    """
    later = batch.loss_mask.flip(1).cumsum(1).flip(1) > batch.loss_mask.long()
    learns = batch.loss_mask.any(1).long()
    owner = batch.prompt_index if sharing else torch.arange(len(learns), device=learns.device)
    prompts = batch.prompt_mask if sharing else batch.prompt_mask[batch.prompt_index]
    readers = learns.new_zeros(len(prompts)).index_add_(0, owner, learns)
    if packing:
        answers = learns.new_zeros(len(prompts)).index_add_(0, owner, later.sum(1))
        lengths = torch.stack([prompts.sum(1), answers], 1).flatten()
        return torch.stack([readers, torch.ones_like(readers)], 1).flatten().repeat_interleave(lengths)
    heads, width = prompts * readers[:, None], max(1, later.shape[1] - 1)
    if sharing:
        return torch.cat([heads.flatten(), later[:, :width].long().flatten()])
    return torch.cat([heads, later[:, :-1].long()], 1).flatten()

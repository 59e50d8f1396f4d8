"""Decoder layers whose matrices neighbouring ranks hold in slices: tensor parallelism by the plans of transformers.

A layer's first matrices are cut by what they give and the next by what they take (Shoeybi et al. 2019, arXiv
1909.08053, section 3), so that ranks exchange one sum a block and pass: torch's ColwiseParallel and RowwiseParallel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from transformers import PreTrainedModel

SUMMED = "replicated_with_grad_allreduce"
"""What a plan calls a weight that is whole on every rank and meets each rank's own heads alone."""

STYLES: dict[str, Callable[[], ParallelStyle]] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "colwise_gather_output": lambda: ColwiseParallel(output_layouts=Replicate()),
    "rowwise_split_input": lambda: RowwiseParallel(input_layouts=Replicate()),
}
"""How torch slices a linear layer that a plan says this of."""


def require_slices(config: Any, size: int, sp_size: int = 1) -> None:
    """Raise ValueError, saying why, unless so many ranks can hold slices of the layers of a model.

    config: of a Hugging Face model, whose weights need not be there. sp_size: ranks that share the heads of each slice.
    """
    text = config.get_text_config()
    family = f"a model of the type {text.model_type}"
    everything = getattr(text, "base_model_tp_plan", None) or {}
    plan = {place: kind for place, kind in everything.items() if ".*." in place}
    if not plan:
        raise ValueError(f"{family} brings no plan for slices of its layers: leave --tp_size out")
    _require_known(family, plan)
    shared: dict[str, int] = {}
    if any("attn" in place and kind == "colwise" for place, kind in plan.items()):
        heads, key_heads = text.num_attention_heads, getattr(text, "num_key_value_heads", None)
        shared["attention heads"] = heads
        shared["key heads"] = key_heads or heads
        if heads % (size * sp_size) and not heads % size:
            raise ValueError(
                f"{family} has {heads} attention heads, which --tp_size {size} x --sp_size {sp_size} ranks cannot "
                "share equally: lower one of them"
            )
    if any("mlp" in place for place in plan):
        shared["inner numbers of an MLP"] = text.intermediate_size
    for what, count in shared.items():
        if count % size:
            fitting = [number for number in range(1, size) if not any(each % number for each in shared.values())]
            raise ValueError(
                f"{family} has {count} {what}, which {size} ranks cannot share equally: set --tp_size to one of "
                f"{', '.join(map(str, fitting))}"
            )


@dataclass(frozen=True)
class Plan:
    """What neighbours are to hold in slices.

    linear: name within the module -> the linear layer there, and what the plan says of it. summed: names of weights
    that are whole while the gradients of all these ranks add up to theirs.
    """

    linear: Mapping[str, tuple[nn.Linear, str]]
    summed: frozenset[str]


def plan_slices(module: nn.Module, layers: list[nn.Module], size: int) -> Plan:
    """What so many ranks are to hold in slices of the linear layers within the given layers of a module.

    It follows the plans of the models in it. All else stays whole on each of them. Raises ValueError, naming the model
    and the layer, where require_slices does, and for a layer that is no plain linear layer (an adapter) or of a width
    that the ranks cannot share.
    """
    linear: dict[str, tuple[nn.Linear, str]] = {}
    summed: set[str] = set()
    inside = {part for layer in layers for part in layer.modules()}
    for prefix, model in _models(module):
        name = type(model).__name__
        require_slices(model.config, size)
        planned = {place: kind for place, kind in _planned(model) if model.get_submodule(place) in inside}
        if not planned:
            raise ValueError(f"{name} has no layer that its plan for slices names: leave --tp_size out")
        _require_known(name, planned)
        for place, kind in planned.items():
            part = model.get_submodule(place)
            if kind == SUMMED:
                summed |= {f"{prefix}{place}.{own}" for own, _ in part.named_parameters()}
                continue
            if not isinstance(part, nn.Linear):
                raise ValueError(
                    f"{name} has a {type(part).__name__} as {place}, and only plain linear layers can be held in "
                    "slices: leave --tp_size out"
                )
            width = part.out_features if kind.startswith("colwise") else part.in_features
            if width % size:
                raise ValueError(
                    f"{name} has a width of {width} in {place}, which {size} ranks cannot share equally: lower "
                    "--tp_size"
                )
            linear[f"{prefix}{place}"] = (part, kind)
        _require_complete(model, planned)
    return Plan(linear, frozenset(summed))


def slice_layers(module: nn.Module, layers: list[nn.Module], mesh: DeviceMesh) -> frozenset[str]:
    """Slice linear layers as plan_slices says, and raises, into DTensors.

    mesh: of one dimension, the ranks that compute every micro-batch together. Returns the names of the summed weights.
    """
    plan = plan_slices(module, layers, mesh.size())
    for part, kind in plan.linear.values():
        parallelize_module(part, mesh, STYLES[kind](), src_data_rank=None)
    return plan.summed


def _models(module: nn.Module) -> Iterator[tuple[str, PreTrainedModel]]:
    """The Hugging Face models in a module that are not within another, and what their weights' names begin with."""
    found: list[str] = []
    for name, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and not any(name.startswith(outer) for outer in found):
            found.append(f"{name}." if name else "")
            yield found[-1], part


def _planned(model: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """(module, kind) for all modules of a model that its plan names, or names a weight of."""
    for pattern, kind in model.tp_plan.items():
        places = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
        yield from ((name, kind) for name, _ in model.named_modules() if places.fullmatch(name))
        owners = {name.rpartition(".")[0] for name, _ in model.named_parameters() if places.fullmatch(name)}
        yield from ((owner, kind) for owner in owners)


def _require_known(name: str, plan: Mapping[str, str]) -> None:
    """Raise ValueError for a kind of slices, such as those of experts, that is none of ours."""
    for place, kind in plan.items():
        if kind not in {*STYLES, SUMMED}:
            raise ValueError(
                f"{name} is to have slices of {place} of the kind {kind}; known here are {', '.join(STYLES)} and "
                f"{SUMMED}: leave --tp_size out"
            )


def _require_complete(model: PreTrainedModel, planned: Mapping[str, str]) -> None:
    """Raise ValueError for a weight beside slices of which the plan says nothing: it might meet slices, too."""
    owners = {place.rpartition(".")[0] for place, kind in planned.items() if kind == "colwise"}
    for owner in owners:
        for name, _ in model.get_submodule(owner).named_parameters():
            place = f"{owner}.{name}".rpartition(".")[0]
            if place not in planned:
                raise ValueError(
                    f"{type(model).__name__} has weights in {place}, beside layers that are to be held in slices, of "
                    "which its plan says nothing: leave --tp_size out"
                )

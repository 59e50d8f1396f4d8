"""Models too large for one rank: built without memory, sharded, then filled shard by shard from safetensors."""

from __future__ import annotations

from itertools import chain
from math import nan
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from lightrft_strategy.devices import device
from lightrft_strategy.language import without_dropout
from lightrft_strategy.training.full import local, tied
from lightrft_strategy.training.regions import held_region


def empty_language_model(
    pretrain: str | Path, *, attn_implementation: str | None = None, trust_remote_code: bool = False
) -> Any:
    """A causal language model from its config alone, in float32: its weights are on the meta device, without memory.

    Buffers that no checkpoint holds (rotary frequencies) are computed for real. Raises ValueError, naming the buffer,
    for a model that cannot compute one of them anew.
    """
    config = AutoConfig.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=torch.float32,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
        )
    kept = model.state_dict().keys()
    computed = [name for name, _ in model.named_buffers() if name not in kept]
    for name in computed:
        owner, _, last = name.rpartition(".")
        buffer = model.get_buffer(name)
        blank = torch.full_like(buffer, nan if buffer.is_floating_point() else 0, device="cpu")
        setattr(model.get_submodule(owner), last, blank)
    model.initialize_weights()
    for name in computed:
        if not model.get_buffer(name).isfinite().all():
            raise ValueError(
                f"{type(model).__name__} does not say how to compute its buffer {name}, which no checkpoint holds: "
                "load this model whole"
            )
    return without_dropout(model)


@torch.no_grad()
def materialise(module: nn.Module, place: torch.device) -> None:
    """Give parameters of the meta device memory in that place, full of NaN; the others keep their numbers.

    Buffers go where things are computed. Does nothing to a module that is not on the meta device.
    """
    if not any(tensor.is_meta for tensor in module.state_dict().values()):
        return
    real = {name: tensor.detach().clone() for name, tensor in _named(module) if not tensor.is_meta}
    module.to_empty(device=place)
    for name, tensor in _named(module):
        mine = local(tensor)
        if name in real:
            mine.copy_(local(real[name]))
        else:
            mine.fill_(nan if mine.is_floating_point() else 0)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            setattr(owner, name, buffer.to(device()))


@torch.no_grad()
def load_shards(model: Any, folder: Path) -> None:
    """Fill a Hugging Face model, sharded or whole, from the safetensors of a folder; a rank reads its shards alone.

    model: the one the weights are named in, or its base model. Raises ValueError if a weight is missing or has another
    shape, changing nothing.
    """
    places: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            places |= {name: (path, tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118
    state = model.state_dict(keep_vars=True)
    chosen: dict[str, str] = {}
    for names in tied(state):
        candidates = [*names, *(f"{model.base_model_prefix}.{name}" for name in names)]
        stored = next((name for name in candidates if name in places), None)
        if stored is None or places[stored][1] != tuple(state[names[0]].shape):
            what = "no weight" if stored is None else f"the shape {list(places[stored][1])}"
            raise ValueError(
                f"{folder} has {what} for {names[0]}, whose shape is {list(state[names[0]].shape)} in "
                f"{type(model).__name__}: a checkpoint that is laid out differently must be loaded whole"
            )
        chosen[names[0]] = stored
    for path in sorted({places[stored][0] for stored in chosen.values()}):
        with safe_open(path, "pt") as file:
            for name, stored in chosen.items():
                part = held_region(name, state[name]) if places[stored][0] == path else None
                if part is not None:
                    region, mine = part
                    mine.copy_(file.get_slice(stored)[region.slices] if mine.ndim else file.get_tensor(stored))


def _named(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*chain(module.named_parameters(), module.named_buffers())]

"""Models too large for one rank: built without memory, sharded, then filled shard by shard from safetensors."""

from __future__ import annotations

from itertools import chain
from math import nan
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import get_checkpoint_shard_files

from lightrft_strategy.devices import device
from lightrft_strategy.language import without_dropout
from lightrft_strategy.training.full import local, tied
from lightrft_strategy.training.regions import held_region


def empty_language_model(
    pretrain: str | Path,
    *,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    layers: int | None = None,
) -> Any:
    """A causal language model to be filled by load_shards, in float32: its weights are on the meta device.

    layers: its first so many alone; None: all.
    Buffers that no checkpoint holds (rotary frequencies) are computed for real. Raises ValueError, saying why, for a
    model that must be loaded whole: its weights are quantised, are not those of load_shards, or one of those buffers
    cannot be computed anew.
    """
    config = AutoConfig.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    told = {"quantization_config", "transformers_weights"} & vars(config).keys()
    if told:
        raise ValueError(f"{pretrain} has a {', '.join(sorted(told))}: load this model whole")
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
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
    _stored(model, pretrain)
    if model.can_generate():
        model.generation_config = _generation_config(pretrain)
    return without_dropout(model)


@torch.no_grad()
def materialise(module: nn.Module, place: torch.device) -> None:
    """Give parameters of the meta device memory in that place, full of NaN; the others keep their numbers.

    Buffers go where things are computed, and tied parameters stay one. Does nothing to a module that is not on the meta
    device.
    """
    if not any(tensor.is_meta for tensor in module.state_dict().values()):
        return
    real = {name: tensor.detach().clone() for name, tensor in _named(module) if not tensor.is_meta}
    ties = tied(dict(module.named_parameters(remove_duplicate=False)))
    module.to_empty(device=place)
    for first, *others in ties:
        for name in others:
            within, _, last = name.rpartition(".")
            setattr(module.get_submodule(within), last, module.get_parameter(first))
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
def load_shards(model: Any, pretrain: str | Path) -> None:
    """Fill a Hugging Face model, sharded or whole, from a folder or hub id; a rank reads its shards alone.

    model: the one the weights are named in, or its base model. Raises ValueError if there are no safetensors, a weight
    is missing, stored twice or of another shape, changing nothing.
    """
    state, stored = model.state_dict(keep_vars=True), _stored(model, pretrain)
    for path in sorted({path for path, _ in stored.values()}):
        with safe_open(path, "pt") as file:
            for name, (where, there) in stored.items():
                part = held_region(name, state[name]) if where == path else None
                if part is not None:
                    region, mine = part
                    mine.copy_(file.get_slice(there)[region.slices] if mine.ndim else file.get_tensor(there))


def _stored(model: Any, pretrain: str | Path) -> dict[str, tuple[Path, str]]:
    """Of each weight of a model, tied ones under their first name: its file, and its name there. See load_shards."""
    places: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in _weight_files(pretrain):
        with safe_open(path, "pt") as file:
            places |= {name: (path, tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118
    state, stored = model.state_dict(keep_vars=True), dict[str, tuple[Path, str]]()
    for names in tied(state):
        first, shape = names[0], tuple(state[names[0]].shape)
        candidates = [*names, *(f"{model.base_model_prefix}.{name}" for name in names)]
        found = [(name, *places[name]) for name in candidates if name in places]
        if [there for *_, there in found] != [shape]:
            what = "no weight" if not found else f"the shape {list(found[0][2])}"
            if len(found) > 1:
                what = " and ".join(name for name, *_ in found)
            raise ValueError(
                f"{pretrain} has {what} for {first}, whose shape is {list(shape)} in {type(model).__name__}: a "
                "checkpoint that is laid out differently must be loaded whole"
            )
        name, path, _ = found[0]
        stored[first] = path, name
    return stored


def _weight_files(pretrain: str | Path) -> list[Path]:
    """The safetensors that transformers reads for a folder or hub id, fetched if they are not here."""
    alone = cached_file(str(pretrain), SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if alone is not None:
        return [Path(alone)]
    index = cached_file(str(pretrain), SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
    if index is None:
        raise ValueError(f"{pretrain} has no weights as safetensors: load this model whole")
    return [Path(file) for file in get_checkpoint_shard_files(str(pretrain), index)[0]]


def _generation_config(pretrain: str | Path) -> GenerationConfig:
    """As from_pretrained reads it; of a model without generation_config.json from what its config says of sampling."""
    try:
        return GenerationConfig.from_pretrained(pretrain)
    except OSError:
        return GenerationConfig.from_pretrained(pretrain, config_file_name="config.json", _from_model_config=True)


def _named(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*chain(module.named_parameters(), module.named_buffers())]

"""Folders of DeepSpeed's ZeRO, stages 1 to 3: the float32 masters out of the shards of all ranks.

Their files are pickles, read by torch's own reader of weights alone (torch.load, weights_only=True). It is told of the
few classes of DeepSpeed that every such file mentions, for which it makes empty records; DeepSpeed need not be
installed.
Format: deepspeed/utils/zero_to_fp32.py and DeepSpeedEngine.save_checkpoint, DeepSpeed 0.19.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from lightrft_strategy.foreign.damage import DAMAGE

_SHARD = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_SHARDS = "*_optim_states.pt"


def zero_folder(folder: Path) -> Path | None:
    """Where the shards of a checkpoint lie: in the folder itself, or in the one its file `latest` names; or None."""
    if any(folder.glob(_SHARDS)):
        return folder
    latest = folder / "latest"
    if not latest.is_file():
        return None
    tag = latest.read_text(encoding="utf-8").strip()
    if not tag or Path(tag).name != tag or not any((folder / tag).glob(_SHARDS)):
        raise ValueError(f"{latest} names {tag!r}, and there is no such folder of DeepSpeed ZeRO beside it")
    return folder / tag


class ZeroCheckpoint:
    """The weights of a ZeRO checkpoint; each is put together when it is asked for: see Foreign.

    Trained weights are the float32 masters; frozen ones and buffers are as the model held them.
    """

    kind = "DeepSpeed ZeRO"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.parts: dict[str, Callable[[], Tensor]] = {}
        shards = self._shards()
        stage = int(shards[0]["zero_stage"])
        if stage == 3:
            models = [self._model(f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt") for rank in range(len(shards))]
        else:
            models = [self._model("mp_rank_00_model_states.pt")]
        try:
            if stage == 3:
                self._of_stage_three(shards, models)
            else:
                self._below_stage_three(shards, models[0])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} is of another version of DeepSpeed ZeRO than this reads: {error!r}") from error
        for name, first in (models[0].get("shared_params") or {}).items():
            if first in self.parts:
                self._add(name, self.shapes[first], self.parts[first])

    def read(self, name: str) -> Tensor:
        """One weight, out of the shards of all ranks."""
        return self.parts[name]().detach()

    def _add(self, name: str, shape: Sequence[int], part: Callable[[], Tensor]) -> None:
        self.shapes[name], self.parts[name] = tuple(shape), part

    def _shards(self) -> list[dict[str, Any]]:
        """What each rank remembered for its optimiser, by rank."""
        found: dict[int, Path] = {}
        for path in self.folder.glob(_SHARDS):
            match = _SHARD.fullmatch(path.name)
            if match is None or int(match[2]):
                raise ValueError(f"{path} is a shard of model or expert parallelism, which this does not put together")
            found[int(match[1])] = path
        shards = [self._optimiser(found[rank]) for rank in sorted(found)]
        counts = shards[0]["partition_count"]
        world_size = max(counts) if isinstance(counts, list) else counts
        if sorted(found) != list(range(world_size)):
            missing = sorted(set(range(world_size)) - set(found))
            raise ValueError(f"{self.folder} lacks the shards (*{_SHARDS[1:]}) of ranks {missing} of {world_size}")
        return shards

    def _optimiser(self, path: Path) -> dict[str, Any]:
        shard = read_plain(path).get("optimizer_state_dict")
        if not isinstance(shard, dict) or not {"zero_stage", "partition_count"} <= shard.keys():
            raise ValueError(f"{path} is no shard of DeepSpeed ZeRO")
        if shard.get("ds_zero_partition_groups") is not None:
            raise ValueError(f"{path} is of expert parallelism, which this does not put together")
        return shard

    def _model(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing: it says which weight lies where in the shards")
        return read_plain(path)

    def _below_stage_three(self, shards: Sequence[Mapping[str, Any]], model: Mapping[str, Any]) -> None:
        """Each group of weights is one vector, cut over the ranks."""
        for name, tensor in model["module"].items():
            self._add(name, tensor.shape, tensor.clone)
        paddings = shards[0].get("param_alignment_paddings")
        for number, shapes in enumerate(model["param_shapes"]):
            pieces = [shard["single_partition_of_fp32_groups"][number] for shard in shards]
            start = 0
            for index, (name, shape) in enumerate(shapes.items()):
                self._add(name, shape, partial(_taken, pieces, start, shape))
                start += prod(shape) + (paddings[number][index] if paddings is not None else 0)
            self._require_used(start, sum(piece.numel() for piece in pieces), 2 * len(shards))

    def _of_stage_three(self, shards: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]]) -> None:
        """Each weight is cut over the ranks by itself; a rank's parts follow one another in its groups."""
        vectors, start = [_pieces(shard["fp32_flat_groups"]) for shard in shards], 0
        for shapes in models[0]["param_shapes"]:
            for name, shape in shapes.items():
                self._add(name, shape, partial(_gathered, vectors, start, shape))
                start += ceil(prod(shape) / len(shards))
        self._require_used(start, sum(piece.numel() for piece in vectors[0]), 1)
        for name, shape in (models[0].get("frozen_param_shapes") or {}).items():
            frozen = [[model["frozen_param_fragments"][name].flatten()] for model in models]
            self._add(name, shape, partial(_gathered, frozen, 0, shape))
        for name in models[0]["buffer_names"]:
            tensor = models[0]["module"][name]
            self._add(name, tensor.shape, tensor.clone)

    def _require_used(self, used: int, there: int, unit: int) -> None:
        """Raise ValueError unless the weights fill the shards but for what rounds them up."""
        if ceil(used / unit) != ceil(there / unit):
            raise ValueError(f"{self.folder} holds {there} elements in a group of shards and names {used} of them")


def read_plain(path: Path) -> dict[str, Any]:
    """A file that torch.save wrote, of tensors and plain values alone; what is not asked for stays on the disk.

    Raises ValueError, naming the file, if it is damaged or holds anything else.
    """
    try:
        with safe_globals(_KNOWN):
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} {_unsafe(path)}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no file of a DeepSpeed checkpoint")
    return content


def _unsafe(path: Path) -> str:
    known = {name for _, name in _KNOWN}
    try:
        others = [name for name in get_unsafe_globals_in_checkpoint(path) if name not in known]
    except DAMAGE as error:
        return f"is damaged: {error!r}"
    return (
        f"holds Python objects ({', '.join(others) or 'of an unknown kind'}), which could run code when they are read, "
        "so it is not read. Where you trust it, run DeepSpeed's own script in the checkpoint's folder, python "
        "zero_to_fp32.py . OUT --safe_serialization, and take OUT instead"
    )


class _Record:
    """What stands in the place of an object of DeepSpeed that no weight is in."""

    def __init__(self, *values: Any) -> None:
        pass


_KNOWN: list[Any] = [
    (int, "deepspeed.runtime.zero.config.ZeroStageEnum"),
    *(
        (_Record, f"deepspeed.{name}")
        for name in (
            "runtime.fp16.loss_scaler.LossScaler",
            "runtime.fp16.loss_scaler.DynamicLossScaler",
            "utils.tensor_fragment.fragment_address",
        )
    ),
]


def _pieces(groups: Any) -> list[Tensor]:
    return [group.flatten() for group in (groups if isinstance(groups, list | tuple) else [groups])]


def _cut(pieces: Sequence[Tensor], start: int, count: int) -> Iterator[Tensor]:
    """Elements start to start + count of the vector that the pieces make."""
    for piece in pieces:
        length = len(piece)
        first, last = max(start, 0), min(start + count, length)
        if first < last:
            yield piece[first:last]
        start -= length


def _taken(pieces: Sequence[Tensor], start: int, shape: Sequence[int]) -> Tensor:
    return torch.cat([*_cut(pieces, start, prod(shape))]).reshape(tuple(shape))


def _gathered(vectors: Sequence[Sequence[Tensor]], start: int, shape: Sequence[int]) -> Tensor:
    """A weight of which each rank has an equal part from the same place of its vector on, the last ones padded."""
    share = ceil(prod(shape) / len(vectors))
    parts = [part for pieces in vectors for part in _cut(pieces, start, share)]
    return torch.cat(parts)[: prod(shape)].reshape(tuple(shape))

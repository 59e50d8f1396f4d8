"""Folders of torch.distributed.checkpoint (DCP): FSDP2's in torchtitan, Accelerate and many others.

Their list of contents, .metadata, is a pickle, which could do anything when it is loaded. Here it is read by an
unpickler that knows the classes of that list by name alone and makes plain records of them; it calls nothing of torch
and refuses every other name. Tensors are read by torch's own reader of weights alone (torch.load, weights_only=True).
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from math import prod
from operator import index
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightrft_strategy.foreign.damage import DAMAGE

METADATA = ".metadata"

_RECORDS = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),
}
_VALUES: dict[str, Any] = {
    "torch.Size": tuple,
    "torch.serialization._get_layout": str,
    "collections.OrderedDict": OrderedDict,
}


class DistributedCheckpoint:
    """The tensors of a DCP folder, put together from the chunks that ranks wrote: see Foreign."""

    kind = "torch.distributed.checkpoint"

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / METADATA
        try:
            metadata = _Unpickler(path).load().fields
            places = {_chunk_name(chunk): info.fields for chunk, info in metadata["storage_data"].items()}
            self.tensors: dict[str, _Tensor] = {
                name: _tensor(path, name, entry.fields, places)
                for name, entry in metadata["state_dict_metadata"].items()
                if "chunks" in entry.fields
            }
        except _Refused:
            raise
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        except DAMAGE as error:
            raise ValueError(f"{path} is damaged, or is no list of a checkpoint's contents: {error!r}") from error
        self.shapes = {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name: str) -> Tensor:
        """One tensor, chunk by chunk."""
        tensor = self.tensors[name]
        whole = torch.empty(tensor.shape, dtype=tensor.dtype)
        for chunk in tensor.chunks:
            part = self._part(chunk)
            if not isinstance(part, Tensor) or part.dtype != tensor.dtype or tuple(part.shape) != chunk.sizes:
                raise ValueError(
                    f"{self.folder / chunk.file} is damaged: at byte {chunk.start} it has no part of {name} of shape "
                    f"{list(chunk.sizes)} in {tensor.dtype}"
                )
            whole[tuple(slice(o, o + s) for o, s in zip(chunk.offsets, chunk.sizes, strict=True))] = part
        return whole

    def _part(self, chunk: _Chunk) -> Any:
        path = self.folder / chunk.file
        try:
            if path.stat().st_size < chunk.start + chunk.length:
                raise ValueError(f"{path} is cut off: it ends before byte {chunk.start + chunk.length}")
            with path.open("rb") as file:
                file.seek(chunk.start)
                content = file.read(chunk.length)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        try:
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        except DAMAGE as error:
            raise ValueError(f"{path} is damaged, or holds more than tensors, at byte {chunk.start}") from error


class _Chunk(NamedTuple):
    """A box of a tensor, and where in which file it lies."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


class _Tensor(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    chunks: list[_Chunk]


class _Refused(ValueError):
    """Says, naming the file, why its list of contents is not followed."""


class _Record:
    """What stands in the place of an object of torch: the fields it was saved with."""

    fields: Any = MappingProxyType({})

    def __init__(self, *values: Any) -> None:
        pass

    def __setstate__(self, fields: Any) -> None:
        self.fields = fields


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: Path) -> None:
        super().__init__(BytesIO(path.read_bytes()))
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if name in _RECORDS.get(module, ()):
            return _Record
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if f"{module}.{name}" in _VALUES:
            return _VALUES[f"{module}.{name}"]
        raise _Refused(
            f"{self.path} asks for {module}.{name}, which is no part of a list of tensors: it could run code, so it is "
            "not read. Where you trust it, load it with its own program and save the weights as safetensors, which "
            "lightrft import takes"
        )


def _chunk_name(chunk: _Record) -> tuple[str, tuple[int, ...] | None]:
    return chunk.fields["fqn"], chunk.fields.get("offset")


def _tensor(
    path: Path, name: str, entry: dict[str, Any], places: dict[tuple[str, tuple[int, ...] | None], dict[str, Any]]
) -> _Tensor:
    shape, chunks = _numbers(entry["size"]), []
    dtype = entry["properties"].fields[0]
    if not isinstance(name, str) or not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name!r} of {dtype!r}")
    for chunk in entry["chunks"]:
        offsets, sizes = _numbers(chunk.fields["offsets"]), _numbers(chunk.fields["sizes"])
        place = places.get((name, offsets)) or places[name, None]
        if place.get("transform_descriptors"):
            raise _Refused(
                f"{path}: {name} was transformed when it was saved ({place['transform_descriptors']}), which this does "
                "not undo"
            )
        file = str(place["relative_path"])
        if PurePosixPath(file).name != file or file in ("", ".", "..") or "\0" in file:
            raise _Refused(f"{path} names {file}, outside of its folder: do not trust this checkpoint")
        chunks.append(_Chunk(offsets, sizes, file, *_numbers((place["offset"], place["length"]))))
    _require_whole(path, name, shape, chunks)
    return _Tensor(dtype, shape, chunks)


def _numbers(values: Sequence[Any]) -> tuple[int, ...]:
    """Sizes or places. Raises TypeError or ValueError if they are none."""
    numbers = tuple(map(index, values))
    if any(number < 0 for number in numbers):
        raise ValueError(f"{numbers} are no sizes or places")
    return numbers


def _require_whole(path: Path, name: str, shape: tuple[int, ...], chunks: Sequence[_Chunk]) -> None:
    """Raise ValueError unless chunks lie within the tensor, apart from each other, and fill it."""
    filled = [chunk for chunk in chunks if prod(chunk.sizes)]
    for chunk in filled:
        ends = [offset + size for offset, size in zip(chunk.offsets, chunk.sizes, strict=True)]
        if any(end > bound for end, bound in zip(ends, shape, strict=True)):
            raise _Refused(
                f"{path} has a part of {name} from {list(chunk.offsets)} to {ends}, beyond its shape {list(shape)}"
            )
    covered = sum(prod(chunk.sizes) for chunk in filled)
    if covered != prod(shape):
        raise _Refused(f"{path} has {covered} of {prod(shape)} elements of {name}")
    beside: list[_Chunk] = []
    for chunk in sorted(filled, key=lambda chunk: chunk.offsets):
        beside = [other for other in beside if other.offsets[0] + other.sizes[0] > chunk.offsets[0]]
        if any(_overlap(other, chunk) for other in beside):
            raise _Refused(f"{path} has parts of {name} that overlap at {list(chunk.offsets)}, and so lacks another")
        beside.append(chunk)


def _overlap(one: _Chunk, other: _Chunk) -> bool:
    return all(
        a < b + length and b < a + size
        for a, size, b, length in zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True)
    )

"""Named tensors on disk as safetensors, written and read by any number of ranks in any layout.

A folder holds a file for each rank that had something to write, and a manifest, written last, that says where every
region of every tensor lies. The kind of strategy and its number of ranks leave no trace in what can be read back.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.distributed.tensor import DTensor

from lightrft_core import Ranks
from lightrft_strategy.checkpoints import disk_full
from lightrft_strategy.manifest import MANIFEST, Seal, write_manifest
from lightrft_strategy.together import on_first, together
from lightrft_strategy.training.regions import Region, Turns, held_region
from lightrft_strategy.training.stored import description, open_tensors
from lightrft_strategy.training.tensor_file import write_tensor_file


def save_tensors(folder: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, int], ranks: Ranks) -> None:
    """Write tensors and a few counters into a folder, on a disk that all ranks share; every rank calls it.

    tensors: DTensors of any mesh, or plain tensors, which are equal on all ranks; by the same names, in the same order,
    on all of them. Each is asked for once. Every region is written by one of the ranks that hold it.
    Raises ValueError on every rank if the folder already holds a checkpoint, the disk is full, or ranks disagree.
    """
    together(ranks, lambda: _make(folder))
    layout, parts = together(ranks, lambda: _what_to_write(tensors, ranks))
    seal = together(ranks, lambda: _write(folder, ranks, {name: local for name, (_, local) in parts.items()}))
    written = _Written(_fingerprint(layout), seal, {name: region for name, (region, _) in parts.items()})
    everywhere = ranks.gather([written])
    on_first(ranks, lambda: _finish(folder, layout, everywhere, counters))


def load_tensors(
    folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks, *, checksums: bool = True
) -> dict[str, int]:
    """Fill tensors with what save_tensors wrote, in place; every rank calls it. Returns the counters.

    tensors: plain or DTensors, in whatever layout; each rank reads the regions it holds. All files are compared with
    their checksums before, each by one rank. checksums: False: only with their sizes.
    Raises ValueError on every rank if a file is missing or damaged, or if the folder holds other tensors than these.
    """
    stored = open_tensors(folder, ranks, expected=tensors, checksums=checksums)
    together(ranks, lambda: stored.fill(tensors))
    return stored.counters


class _Written(NamedTuple):
    """By one rank: of tensors laid out so, into a file that is so, these regions."""

    fingerprint: str
    seal: Seal | None
    regions: dict[str, Region]


def _make(folder: Path) -> None:
    if (folder / MANIFEST).exists():
        raise ValueError(f"{folder} already holds a checkpoint: remove it or save to another folder")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _what_to_write(
    tensors: Mapping[str, Tensor], ranks: Ranks
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[Region, Tensor]]]:
    """The description of every tensor, and the parts that this rank writes."""
    turns = Turns(ranks)
    layout: dict[str, dict[str, Any]] = {}
    parts: dict[str, tuple[Region, Tensor]] = {}
    for name in tensors:
        tensor = tensors[name]
        layout[name] = description(tensor)
        part = held_region(name, tensor)
        if turns.mine(tensor) and part is not None:
            region, local = part
            parts[name] = (region, local if isinstance(tensor, DTensor) else local.cpu())
    return layout, parts


def _fingerprint(layout: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()


def _file(rank: int) -> str:
    return f"tensors_{rank:05d}.safetensors"


def _write(folder: Path, ranks: Ranks, tensors: Mapping[str, Tensor]) -> Seal | None:
    if not tensors:
        return None
    with _writing(folder):
        return write_tensor_file(folder / _file(ranks.rank), tensors)


def _finish(
    folder: Path, layout: Mapping[str, dict[str, Any]], everywhere: Sequence[_Written], counters: Mapping[str, int]
) -> None:
    regions: dict[str, list[dict[str, Any]]] = {name: [] for name in layout}
    files = {}
    for rank, written in enumerate(everywhere):
        if written.fingerprint != everywhere[0].fingerprint:
            raise ValueError(f"{folder} was not finished: rank {rank} holds other tensors than rank 0")
        for name, region in written.regions.items():
            regions[name].append({"file": _file(rank), **region._asdict()})
        if written.seal is not None:
            files[_file(rank)] = written.seal
    for name, entry in layout.items():
        covered, needed = sum(prod(region["sizes"]) for region in regions[name]), prod(entry["shape"])
        if covered != needed:
            raise ValueError(f"{folder} was not finished: the ranks wrote {covered} of {needed} elements of {name}")
    for name, seal in files.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != seal["bytes"]:
            raise ValueError(f"{folder / name} was written by a rank and is not seen by rank 0: they must share a disk")
    tensors = {name: {**entry, "regions": regions[name]} for name, entry in layout.items()}
    with _writing(folder):
        write_manifest(folder, {"files": files, "counters": dict(counters), "tensors": tensors})


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ValueError(disk_full(folder) if full else f"{folder} could not be written: {error}") from error

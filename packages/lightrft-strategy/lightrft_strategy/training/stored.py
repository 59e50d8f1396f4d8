"""The tensors of a checkpoint, read from its files without regard to who wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lightrft_core import Ranks
from lightrft_strategy.manifest import check_files, read_manifest
from lightrft_strategy.together import together
from lightrft_strategy.training.regions import Region, held_region, intersection


class Stored(Mapping[str, Tensor]):
    """What save_tensors wrote, by name; each tensor is read whole, to the CPU, when it is asked for.

    counters: the numbers that were saved along with them.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.counters: dict[str, int] = manifest["counters"]
        self.tensors: dict[str, dict[str, Any]] = manifest["tensors"]

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.empty(self.tensors[name]["shape"], dtype=getattr(torch, self.tensors[name]["dtype"]))
        self.fill({name: tensor})
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy what this rank holds of some tensors out of the files. Raises ValueError if some of it is in none."""
        wanted: dict[str, list[tuple[str, Region, Region, Tensor]]] = {}
        for name, tensor in tensors.items():
            part = held_region(name, tensor)
            if part is None:
                continue
            here, local = part
            found = 0
            for entry in self.tensors[name]["regions"]:
                there = Region(tuple(entry["offsets"]), tuple(entry["sizes"]))
                common = intersection(there, here)
                if common.volume:
                    found += common.volume
                    wanted.setdefault(entry["file"], []).append((name, there, common, local[common.within(here)]))
            if found != here.volume:
                raise ValueError(f"{self.folder} holds {found} of {here.volume} elements of {name}: it has gaps")
        for file, pieces in wanted.items():
            with safe_open(self.folder / file, framework="pt") as reader:
                for name, there, common, destination in pieces:
                    whole = common == there
                    destination.copy_(
                        reader.get_tensor(name) if whole else reader.get_slice(name)[common.within(there)]
                    )


def open_tensors(
    folder: Path, ranks: Ranks, *, expected: Mapping[str, Tensor] | None = None, checksums: bool = True
) -> Stored:
    """The tensors of a checkpoint whose files have their checksums; every rank calls it and reads its share of them.

    expected: tensors of the names, shapes and dtypes they must have; None: any. checksums: as in check_files.
    Raises ValueError on every rank, naming the file or the tensor that is not as it must be.
    """
    manifest = together(ranks, lambda: _manifest(folder, expected))
    check_files(folder, manifest, checksums=checksums, ranks=ranks)
    return Stored(folder, manifest)


def description(tensor: Tensor) -> dict[str, Any]:
    """What a manifest says of a tensor, but for where it lies."""
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def _manifest(folder: Path, expected: Mapping[str, Tensor] | None) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if "tensors" not in manifest:
        raise ValueError(f"{folder} holds the folders of a checkpoint and no tensors itself: give one of those in it")
    if expected is not None:
        stored = {name: _words(entry) for name, entry in manifest["tensors"].items()}
        needed = {name: _words(description(tensor)) for name, tensor in expected.items()}
        faults = [f"{name} is not in it" for name in needed if name not in stored]
        faults += [f"{name} is only in it" for name in stored if name not in needed]
        faults += [
            f"{name} is {stored[name]} in it and {words} here"
            for name, words in needed.items()
            if stored.get(name, words) != words
        ]
        if faults:
            more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise ValueError(
                f"{folder} holds other weights than this model: {'; '.join(faults[:3])}{more}. Load it with the model "
                "and the settings it was saved with"
            )
    return manifest


def _words(entry: Mapping[str, Any]) -> str:
    return f"{entry['dtype']} {tuple(entry['shape'])}"

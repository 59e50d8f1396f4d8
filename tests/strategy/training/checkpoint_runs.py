"""What the ranks of the checkpoint tests do: lay tensors out, save them, load them in another layout."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, repeat
from math import prod
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from lightrft_core import Metrics, Ranks
from lightrft_strategy.checkpoints import newest_whole, write_checkpoint
from lightrft_strategy.training.checkpoint import load_tensors, save_tensors

WORLD = 4
MESHES = {
    "one": [0],
    "two": [0, 1],
    "three": [0, 1, 2],
    "four": [0, 1, 2, 3],
    "last of two": [1],
    "odd of four": [3, 1],
    "two by two": [[0, 1], [2, 3]],
    "one by three": [[0, 1, 2]],
}
_made: dict[str, Any] = {}


@dataclass(frozen=True)
class Layout:
    """mesh: "" is plain. placements: the dimension that each dimension of the mesh shards, or None: replicated."""

    mesh: str = ""
    placements: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...]
    dtype: torch.dtype
    saved: Layout
    loaded: Layout


class SomeRanks:
    """The first so many ranks of the default group."""

    def __init__(self, world_size: int) -> None:
        self.rank, self.world_size = dist.get_rank(), world_size
        name = f"group {world_size}"
        if name not in _made:
            _made[name] = dist.new_group(list(range(world_size)))
        self.group = _made[name]

    def gather(self, items: Sequence[Any]) -> list[Any]:
        parts: list[list[Any]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, list(items), group=self.group)
        return [item for part in parts for item in part]

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        raise AssertionError("a checkpoint has no metrics")


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def any_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """A tensor of any content at all, not-a-number with a payload included."""
    count = prod(shape) * dtype.itemsize
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count,), generator=generator, dtype=torch.uint8).view(dtype).reshape(shape)


def full_tensors(specs: Sequence[Spec]) -> dict[str, Tensor]:
    return {f"tensor.{i}": any_bits(spec.shape, spec.dtype, i) for i, spec in enumerate(specs)}


def laid_out(tensor: Tensor, layout: Layout) -> Tensor:
    if not layout.mesh:
        return tensor.clone()
    for name, numbers in MESHES.items():
        if name not in _made and torch.tensor(numbers).max() < dist.get_world_size():
            _made[name] = DeviceMesh("cpu", numbers)
    placements = [Replicate() if dim is None else Shard(dim) for dim in layout.placements]
    return distribute_tensor(tensor.clone(), _made[layout.mesh], placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def said(action: Callable[[], Any]) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


def round_trip(folder: Path, specs: Sequence[Spec], savers: int, loaders: int) -> list[str]:
    """The names of tensors of which this rank's part is not what it was."""
    full = full_tensors(specs)
    ranks = SomeRanks(savers)
    if ranks.rank < savers:
        tensors = {name: laid_out(full[name], spec.saved) for name, spec in zip(full, specs, strict=True)}
        save_tensors(folder, tensors, {"attempts": 7}, ranks)
    else:
        [laid_out(full[name], spec.saved) for name, spec in zip(full, specs, strict=True)]
    dist.barrier()
    ranks = SomeRanks(loaders)
    other = {name: bits(tensor).bitwise_not().view(tensor.dtype).reshape(tensor.shape) for name, tensor in full.items()}
    tensors = {name: laid_out(other[name], spec.loaded) for name, spec in zip(full, specs, strict=True)}
    expected = {name: laid_out(full[name], spec.loaded) for name, spec in zip(full, specs, strict=True)}
    if ranks.rank < loaders:
        assert load_tensors(folder, tensors, ranks) == {"attempts": 7}
        return [name for name in full if not torch.equal(bits(local(tensors[name])), bits(local(expected[name])))]
    return []


def plain(world_size: int, rows: int = 5) -> dict[str, Tensor]:
    """Sharded over so many ranks, so that each has a file of its own."""
    mesh = {1: "one", 2: "two", 3: "three", 4: "four"}[world_size]
    full = torch.arange(rows * 3.0).reshape(rows, 3)
    return {"weight": laid_out(full, Layout(mesh, (0,))), "bias": torch.arange(3.0)}


def save(folder: Path) -> str:
    return said(lambda: save_tensors(folder, plain(WORLD), {}, SomeRanks(WORLD)))


def load(folder: Path) -> str:
    return said(lambda: load_tensors(folder, plain(WORLD), SomeRanks(WORLD)))


@contextmanager
def full_disk(flushes: int = 0) -> Iterator[None]:
    """Only so many files find room: the system may say so as late as when a file is flushed."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with mock.patch("os.fsync", side_effect=chain(repeat(None, flushes), repeat(error))):
        yield


def save_on_a_full_disk(folder: Path, poor: int) -> str:
    """Rank `poor` finds no room for its file."""
    ranks = SomeRanks(WORLD)
    with full_disk() if ranks.rank == poor else nullcontext():
        return said(lambda: save_tensors(folder, plain(WORLD), {}, ranks))


def save_unequal(folder: Path) -> str:
    """Rank 2 holds another model."""
    ranks = SomeRanks(WORLD)
    tensors = {"bias": torch.zeros(4 if ranks.rank == 2 else 3)}
    return said(lambda: save_tensors(folder, tensors, {}, ranks))


def save_summands(folder: Path) -> str:
    laid_out(torch.zeros(1), Layout("four", (None,)))
    summand = DTensor.from_local(torch.ones(2), _made["four"], [Partial()])
    return said(lambda: save_tensors(folder, {"gradient": summand}, {}, SomeRanks(WORLD)))


def checkpoint(folder: Path, step: int, keep: int, faulty: int | None) -> str:
    """Write a checkpoint; rank `faulty` fails at it after all have written their tensors."""
    ranks = SomeRanks(WORLD)

    def fill(unfinished: Path) -> None:
        save_tensors(unfinished / "policy", plain(WORLD), {"attempts": step}, ranks)
        (unfinished / f"note_{ranks.rank}").write_text(str(step))
        if ranks.rank == faulty:
            raise ValueError("out of ink")

    return said(lambda: write_checkpoint(folder, step, fill, keep=keep, ranks=ranks))


def newest(folder: Path, checksums: bool) -> tuple[Path | None, int]:
    found, faults = newest_whole(folder, checksums=checksums, ranks=SomeRanks(WORLD))
    return found, len(faults)


def killed_while_writing(folder: Path) -> None:
    """Rank 1 is killed when it has written half of its part of step 2; what the other says is left beside."""
    ranks: Ranks = SomeRanks(2)

    def fill(unfinished: Path) -> None:
        save_tensors(unfinished / "policy", plain(2), {}, ranks)
        if ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        save_tensors(unfinished / "critic", plain(2), {}, ranks)

    try:
        write_checkpoint(folder, 2, fill, keep=1, ranks=ranks)
    except RuntimeError as error:
        (folder / f"said_{ranks.rank}").write_text(type(error).__name__)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 5), nn.Linear(5, 3, bias=False)


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def fsdp2(folder: Path) -> dict[str, Tensor]:
    """Save what fully_shard makes of a model whose 5 rows do not divide by 4; give back the whole of it."""
    model = fully_shard(net(), mesh=init_device_mesh("cpu", (WORLD,)))
    save_tensors(folder, model.state_dict(), {}, SomeRanks(WORLD))
    return {name: tensor.full_tensor() for name, tensor in model.state_dict().items()}


def tensor_parallel(folder: Path) -> dict[str, Tensor]:
    """The same where the rows are dealt over 2 ranks first, and what each of them has over 2 others after that."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = net()
    model.up.weight = nn.Parameter(distribute_tensor(model.up.weight.detach()[:4], mesh["tensor"], [Shard(0)]))
    model.up.bias = nn.Parameter(distribute_tensor(model.up.bias.detach(), mesh["tensor"], [Replicate()]))
    model.down.weight = nn.Parameter(distribute_tensor(model.down.weight.detach(), mesh["tensor"], [Shard(1)]))
    fully_shard(model, mesh=mesh["data"])
    save_tensors(folder, model.state_dict(), {}, SomeRanks(WORLD))
    return {name: tensor.full_tensor() for name, tensor in model.state_dict().items()}


def fsdp2_loads(folder: Path, expected: dict[str, Tensor]) -> bool:
    """Whether fully_shard on three ranks, or on two twice over, gets what was saved."""
    equal = True
    for world_size, mesh in ((3, (3,)), (4, (2, 2))):
        ranks = SomeRanks(world_size)
        names = ("replica", "shard")[-len(mesh) :]
        made = DeviceMesh("cpu", torch.arange(prod(mesh)).reshape(mesh), mesh_dim_names=names)
        if ranks.rank >= world_size:
            continue
        model = fully_shard(net(), mesh=made)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        load_tensors(folder, model.state_dict(), ranks)
        for name, tensor in model.state_dict().items():
            equal &= torch.equal(tensor.full_tensor(), expected[name])
    return equal

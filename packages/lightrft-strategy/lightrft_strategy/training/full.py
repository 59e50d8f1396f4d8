"""Whole weights out of models that ranks hold in shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

SLICE = "lightrft_slice"
"""The attribute of a plain parameter that is a Slice of a weight."""


@dataclass(frozen=True)
class Slice:
    """How the ranks of a mesh of one dimension hold equal slices of a weight, as plain tensors."""

    mesh: DeviceMesh
    cut: Shard


def full_tensors(module: nn.Module, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every weight and kept buffer of a module, whole, one at a time: tied ones once, under their first name.

    dtype: what parameters are given in; None: as they are held. Collective where the module is sharded: all
    ranks take all of it, in the same order, and only one weight at a time need fit beside the shards.
    """
    state = module.state_dict(keep_vars=True)
    for first, *_ in tied(state):
        yield first, full(state[first], dtype)


@torch.no_grad()
def full(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The whole of a tensor on every rank, out of FSDP2's shards, ZeRO's or slices; a parameter is converted."""
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            values = tensor.detach().clone()
    else:
        values = tensor.detach()
    if dtype is not None and isinstance(tensor, nn.Parameter):
        values = values.to(dtype)
    values = whole_of(tensor, values)
    return values.full_tensor() if isinstance(values, DTensor) else values


def whole_of(parameter: Tensor, values: Tensor) -> Tensor:
    """A tensor like a weight, out of the values that ranks have of it: collective where the parameter is a Slice."""
    if not hasattr(parameter, SLICE):
        return values
    how: Slice = getattr(parameter, SLICE)
    return DTensor.from_local(values, how.mesh, [how.cut], run_check=False).full_tensor()


def part_of(parameter: Tensor, values: Tensor) -> Tensor:
    """This rank's part of a tensor like a weight: a slice of it where the parameter is one."""
    if not hasattr(parameter, SLICE):
        return values
    how: Slice = getattr(parameter, SLICE)
    return values.chunk(how.mesh.size(), how.cut.dim)[how.mesh.get_local_rank()].contiguous()


def local(tensor: Tensor) -> Tensor:
    """What of a tensor is on this rank, sharing its memory."""
    values = tensor.detach()
    return values.to_local() if isinstance(values, DTensor) else values


def tied(state: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """The names of a state_dict(keep_vars=True), those of one weight together, in the same order on all ranks."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(_identity(tensor), []).append(name)
    return [tuple(group) for group in names.values()]


def _identity(tensor: Tensor) -> tuple[object, ...]:
    """What tied tensors, and no others, share. Shards may be empty, and empty tensors share nothing."""
    if isinstance(tensor, DTensor) or not tensor.data_ptr():
        return (id(tensor),)
    return (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())

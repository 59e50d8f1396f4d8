"""Whole weights out of models that ranks hold in shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


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
    """The whole of a tensor on every rank, out of FSDP2's shards or ZeRO's; a parameter is converted."""
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            values = tensor.detach().clone()
    else:
        values = tensor.detach()
    if dtype is not None and isinstance(tensor, nn.Parameter):
        values = values.to(dtype)
    return values.full_tensor() if isinstance(values, DTensor) else values


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

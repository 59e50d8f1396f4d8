"""Operations on tensors of the meta device together with tensors of the CPU, which code may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
META = torch.device("meta")
_INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_)


def met(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """An operation's arguments such that it can be done.

    Whole numbers and truth values are not moved to the meta device, so that sizes and masks stay known; where they meet
    a tensor of that device, what is done there has all its arguments.
    """
    packet = func._overloadpacket
    if packet is aten._to_copy:
        moved, device = args[0], kwargs.get("device")
        known = moved.device.type == "cpu" and not moved.is_floating_point()
        return args, {**kwargs, "device": moved.device} if device == META and known else kwargs
    if len({leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}) < 2:
        return args, kwargs
    if packet in _INDEXED:
        args = (args[0], [part for index in args[1] for part in _numbered(index)], *args[2:])
    return tree_map(_on_meta, args), tree_map(_on_meta, kwargs)


def _numbered(index: Tensor | None) -> Sequence[Tensor | None]:
    """What indexes a dimension each: truth values, by the numbers of those that are true."""
    return [index] if index is None or index.dtype != torch.bool else index.nonzero().unbind(1)


def _on_meta(leaf: Any) -> Any:
    return leaf.to(META) if isinstance(leaf, Tensor) else leaf

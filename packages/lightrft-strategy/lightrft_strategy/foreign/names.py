"""Which tensor of somebody else's checkpoint is which weight of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from lightrft_strategy.training.full import tied

if TYPE_CHECKING:
    from lightrft_strategy.foreign.folder import Foreign

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into names."""


@torch.no_grad()
def take_weights(model: nn.Module, foreign: Foreign, prefix: str | None = None) -> str:
    """Fill a model that is held whole with a checkpoint's weights, one at a time, in the model's own precision.

    prefix: what stands before the model's names in the checkpoint; None: whatever does, if it is one; empty: nothing.
    Returns the prefix. Buffers that the checkpoint lacks stay as they are.
    Raises ValueError if it lacks a weight, has one in another shape, holds several models, or has different weights
    where the model has one under several names; nothing is changed then.
    """
    state = model.state_dict(keep_vars=True)
    needed = [names for names in tied(state) if isinstance(state[names[0]], nn.Parameter)]
    buffers = [names for names in tied(state) if not isinstance(state[names[0]], nn.Parameter)]
    there = {_unwrapped(name): name for name in foreign.shapes}
    if prefix is None:
        prefix = _prefix(there, needed, type(model).__name__)
    elif prefix:
        prefix = f"{prefix.removesuffix('.')}."
    chosen = _chosen(there, needed, prefix)
    missing = [names[0] for names in needed if names not in chosen]
    if missing:
        raise ValueError(
            f"it has no {_listing(missing)} of {type(model).__name__} behind {prefix!r}; it has {_listing(there)}"
        )
    chosen |= _chosen(there, buffers, prefix)
    for names, several in chosen.items():
        for stored in several:
            if foreign.shapes[stored] != tuple(state[names[0]].shape):
                raise ValueError(
                    f"{stored} has the shape {list(foreign.shapes[stored])}, and {list(state[names[0]].shape)} in the "
                    "model: it was trained from another one"
                )
    for several in chosen.values():
        _require_equal(foreign, several)
    for names, (stored, *_) in chosen.items():
        state[names[0]].copy_(foreign.read(stored))
    return prefix


def _require_equal(foreign: Foreign, names: Sequence[str]) -> None:
    """Raise ValueError unless these tensors, which are one weight of the model, have the same numbers."""
    if len(names) > 1:
        first = foreign.read(names[0])
        for name in names[1:]:
            if not torch.equal(first, foreign.read(name)):
                raise ValueError(
                    f"{names[0]} and {name} are one weight in the model and differ in the checkpoint: it was trained "
                    "from a model that does not tie them (tie_word_embeddings in its config.json)"
                )


def _prefix(there: Mapping[str, str], needed: list[tuple[str, ...]], model: str) -> str:
    """The one prefix under which all weights are found; of none, the one under which most are."""
    candidates = sorted({prefix for names in needed[:1] for prefix in _prefixes(there, names)})
    if not candidates:
        raise ValueError(f"it has no {needed[0][0]} of {model}; it has {_listing(there)}")
    found = {prefix: len(_chosen(there, needed, prefix)) for prefix in candidates}
    best = [prefix for prefix in candidates if found[prefix] == max(found.values())]
    if len(best) > 1:
        raise ValueError(f"it holds several models of this kind: set --prefix to one of {', '.join(map(repr, best))}")
    return best[0]


def _prefixes(there: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    for stored in there:
        for name in names:
            if stored == name or stored.endswith(f".{name}"):
                yield stored.removesuffix(name)


def _chosen(
    there: Mapping[str, str], groups: Iterable[tuple[str, ...]], prefix: str
) -> dict[tuple[str, ...], list[str]]:
    """For each group of tied names, the tensors that have one of them behind the prefix, if there is one."""
    found = {names: [there[prefix + name] for name in names if prefix + name in there] for names in groups}
    return {names: stored for names, stored in found.items() if stored}


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

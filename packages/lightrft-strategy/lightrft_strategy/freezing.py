"""Parameters that training leaves alone, chosen by how their names begin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

SHOWN = 5
"""So many names of parameters stand in a message."""


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Let training leave alone every parameter whose name begins with one of the prefixes; the others stay as they are.

    A tied parameter is frozen by any of its names. Raises ValueError, with nothing frozen, for a prefix that no name
    begins with, and if nothing would be left to train.
    """
    named = list(model.named_parameters(remove_duplicate=False))
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name, _ in named):
            step = max(1, len(named) // SHOWN)
            some = ", ".join(name for name, _ in named[::step][:SHOWN])
            raise ValueError(f"{prefix}: no parameter's name begins so; some names are {some}")
    frozen = {id(parameter) for name, parameter in named if name.startswith(tuple(prefixes))}
    if not any(parameter.requires_grad and id(parameter) not in frozen for _, parameter in named):
        raise ValueError(f"{','.join(prefixes)}: nothing would be left to train")
    for _, parameter in named:
        if id(parameter) in frozen:
            parameter.requires_grad_(False)

"""The weights of a checkpoint in one process, out of whatever layout wrote them, without what optimisers remember."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lightrft_core import OneRank
from lightrft_strategy.training.stored import open_tensors

MASTER = "master."
"""What stands before a weight's own name: see Held.state."""


def load_masters(module: nn.Module, folder: Path, kind: str = MASTER, *, checksums: bool = True) -> list[str]:
    """Fill a module that is held whole with the weights of a checkpoint, one at a time, in the module's own precision.

    folder: one model's part of a checkpoint. kind: what stands before the names of the weights to take. checksums:
    compare every byte; False for what newest_whole has just found by its checksums.
    Returns the parameters that it does not hold because they were not trained.
    Raises ValueError, naming the file or the weight, if a file is missing or damaged, a weight is of another model, or
    there is none of that kind.
    """
    stored = open_tensors(folder, OneRank(), checksums=checksums)
    own = dict(module.named_parameters())
    held = [name.removeprefix(kind) for name in stored if name.startswith(kind)]
    if not held:
        raise ValueError(f"{folder} holds no weights named {kind}*")
    for name in held:
        shape = stored.tensors[kind + name]["shape"]
        if name not in own:
            raise ValueError(f"{folder} holds {name}, which the model lacks: give the model it was trained from")
        if list(own[name].shape) != shape:
            raise ValueError(
                f"{folder} holds {name} of shape {shape}, which is {list(own[name].shape)} in the model: give the "
                "model it was trained from"
            )
    stored.fill({kind + name: own[name].data for name in held})
    return [name for name in own if name not in set(held)]

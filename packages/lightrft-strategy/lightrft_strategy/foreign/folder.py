"""Which kind of checkpoint a folder holds, by its files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor

from lightrft_strategy.foreign.dcp import METADATA, DistributedCheckpoint
from lightrft_strategy.foreign.plain import PlainTensors
from lightrft_strategy.foreign.zero import ZeroCheckpoint, zero_folder
from lightrft_strategy.manifest import MANIFEST


class Foreign(Protocol):
    """Somebody else's checkpoint. shapes: of every tensor in it, by name; kind: who wrote it, in words."""

    kind: str
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str) -> Tensor:
        """One tensor, whole, on the CPU. Raises ValueError, naming the file, if it cannot be read."""
        ...


def open_foreign(folder: Path) -> Foreign:
    """The checkpoint in a folder: DCP's, DeepSpeed's ZeRO, or safetensors by themselves.

    Raises ValueError, naming the file, if it is none of these or cannot be read without trusting it.
    """
    if (folder / MANIFEST).is_file() or any(folder.glob(f"checkpoints/step_*/{MANIFEST}")):
        raise ValueError(f"{folder} was written by lightrft: use lightrft export {folder}")
    if (folder / METADATA).is_file():
        return DistributedCheckpoint(folder)
    tagged = zero_folder(folder)
    if tagged is not None:
        return ZeroCheckpoint(tagged)
    if any(folder.glob("*.safetensors")):
        return PlainTensors(folder)
    raise ValueError(
        f"{folder} holds no checkpoint that can be read: neither {METADATA} (torch.distributed.checkpoint) nor "
        "*_optim_states.pt (DeepSpeed ZeRO) nor *.safetensors"
    )

"""A folder of safetensors and nothing else, such as DeepSpeed's zero_to_fp32.py leaves."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from lightrft_strategy.foreign.damage import DAMAGE


class PlainTensors:
    """The tensors of all *.safetensors in a folder: see Foreign."""

    kind = "safetensors"

    def __init__(self, folder: Path) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    for name in file.keys():  # noqa: SIM118
                        self.shapes[name], self.files[name] = tuple(file.get_slice(name).get_shape()), path
            except DAMAGE as error:
                raise ValueError(f"{path} is damaged: {error}") from error

    def read(self, name: str) -> Tensor:
        """One tensor."""
        path = self.files[name]
        try:
            with safe_open(path, "pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except DAMAGE as error:
            raise ValueError(f"{path} is damaged: {name} cannot be read: {error}") from error
        return tensor

"""Media that show and play nothing, for towers that run because those of other ranks do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class BlankImage:
    """A small black square."""

    modality: str = "image"
    sha256: str = "blank"

    def image(self) -> Image.Image:
        """32 x 32 pixels in RGB."""
        return Image.new("RGB", (32, 32))


@dataclass(frozen=True)
class BlankSound:
    """Silence of 100 ms. sampling_rate: samples a second."""

    sampling_rate: int
    modality: str = "audio"
    sha256: str = "blank"

    def waveform(self) -> Any:
        """[time] float32."""
        return np.zeros(self.sampling_rate // 10, np.float32)

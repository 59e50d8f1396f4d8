"""Prompts of every kind a family may meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lightrft_core import Media, Message

FPS = 4.0
"""Of every clip: not what processors take for granted; no clip lasts longer, in positions, than it is wide or high."""


@dataclass(frozen=True)
class Picture:
    """An image of noise; seed: which."""

    seed: int
    width: int
    height: int
    modality: str = "image"

    @property
    def sha256(self) -> str:
        return f"picture {self.seed} {self.width} {self.height}"

    def image(self) -> Image.Image:
        noise = np.random.default_rng(self.seed).integers(0, 255, (self.height, self.width, 3), dtype=np.uint8)
        return Image.fromarray(noise)


@dataclass(frozen=True)
class Clip:
    """A video of noise."""

    seed: int
    count: int
    width: int
    height: int
    fps: float = FPS
    modality: str = "video"

    @property
    def sha256(self) -> str:
        return f"clip {self.seed} {self.count} {self.width} {self.height}"

    def frames(self) -> Any:
        shape = (self.count, self.height, self.width, 3)
        return np.random.default_rng(self.seed).integers(0, 255, shape, dtype=np.uint8)


@dataclass(frozen=True)
class Sound:
    """A sound of noise."""

    seed: int
    samples: int
    sampling_rate: int = 16_000
    modality: str = "audio"

    @property
    def sha256(self) -> str:
        return f"sound {self.seed} {self.samples}"

    def waveform(self) -> Any:
        return np.random.default_rng(self.seed).normal(0, 0.1, self.samples).astype(np.float32)


@dataclass(frozen=True)
class Asked:
    """A conversation and its media."""

    messages: tuple[Message, ...]
    media: tuple[Media, ...]


def asked(*parts: str | Media, system: str = "") -> Asked:
    """A question out of texts and media in this order."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": part.modality} for part in parts]
    messages = [Message("system", system)] if system else []
    media = tuple(part for part in parts if not isinstance(part, str))
    return Asked((*messages, Message("user", content)), media)


def questions(modalities: Sequence[str], *, together: bool) -> list[Asked]:
    """Text alone, one medium, several, and several kinds together, for a family of these modalities."""
    told = [asked("What is 7 + 12?", system="Be brief.")]
    if "image" in modalities:
        told += [
            asked(Picture(1, 20, 30), "What is it?"),
            asked("Compare ", Picture(2, 40, 16), " with", Picture(1, 20, 30), Picture(3, 24, 24)),
        ]
    if "video" in modalities:
        told += [asked("Before.", Clip(4, 4, 24, 16), "What happens?"), asked(Clip(5, 4, 16, 16), Clip(4, 4, 24, 16))]
    if "audio" in modalities:
        told += [asked(Sound(6, 9000), "Who speaks?"), asked("First", Sound(7, 4000), "then", Sound(8, 12_345), ".")]
    if together and {"image", "video"} <= set(modalities):
        told += [asked(Clip(9, 6, 16, 24), "or", Picture(2, 40, 16), "?")]
    if together and {"image", "video", "audio"} <= set(modalities):
        told += [asked(Picture(3, 24, 24), Sound(7, 4000), Clip(4, 4, 24, 16), Picture(10, 16, 16), "All of it.")]
    return told

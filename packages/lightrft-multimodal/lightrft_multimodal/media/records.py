"""Media as data: small, frozen, known by what they show or play, so that each is decoded and processed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightrft_multimodal.media.colours import FORMATS, upright_rgb


@dataclass(frozen=True)
class ImageRecord:
    """An image as data; equal to every other that shows the same pixels.

    sha256: of the decoded RGB pixels and the size, in hexadecimal.
    width, height: in pixels, after the orientation of its EXIF data.
    encoded: the image file's bytes.
    """

    sha256: str
    width: int
    height: int
    encoded: bytes = field(repr=False, compare=False)

    @property
    def modality(self) -> Literal["image"]:
        return "image"

    def image(self) -> Image.Image:
        """The image in RGB, upright."""
        with Image.open(BytesIO(self.encoded), formats=FORMATS) as image:
            return upright_rgb(image)


@dataclass(frozen=True)
class VideoRecord:
    """The frames sampled from a video; equal to every other record of the same frames at the same times.

    sha256: of the frames' pixels, their size, their times and fps, in hexadecimal.
    width, height: of every frame in pixels, upright and scaled down.
    fps: sampled frames a second of the video.
    timestamps: when each is shown, in seconds from the first frame of the file.
    encoded: each frame as a PNG.
    """

    sha256: str
    width: int
    height: int
    fps: float
    timestamps: tuple[float, ...]
    encoded: tuple[bytes, ...] = field(repr=False, compare=False)

    @property
    def modality(self) -> Literal["video"]:
        return "video"

    def frames(self) -> NDArray[np.uint8]:
        """[frames, height, width, 3] RGB."""
        return np.stack([np.asarray(Image.open(BytesIO(frame), formats=("PNG",))) for frame in self.encoded])


@dataclass(frozen=True)
class AudioRecord:
    """A sound in one channel; equal to every other of the same samples at the same rate.

    sha256: of the samples and their rate, in hexadecimal.
    sampling_rate: samples a second.
    encoded: the samples as little-endian float32.
    """

    sha256: str
    sampling_rate: int
    encoded: bytes = field(repr=False, compare=False)

    @property
    def modality(self) -> Literal["audio"]:
        return "audio"

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.encoded) // 4

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return self.samples / self.sampling_rate

    def waveform(self) -> NDArray[np.float32]:
        """[time] samples, mostly in -1..1."""
        return np.frombuffer(self.encoded, "<f4").astype(np.float32)


Record: TypeAlias = ImageRecord | VideoRecord | AudioRecord

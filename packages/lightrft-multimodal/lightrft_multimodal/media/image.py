"""Images of prompts: decoded safely, turned upright, known by what they show."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightrft_multimodal.media.colours import FORMATS, png, upright_rgb
from lightrft_multimodal.media.errors import MediaError, named, refused
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.records import ImageRecord
from lightrft_multimodal.media.sources import Encoded, contents

ImageSource: TypeAlias = Encoded | Image.Image | NDArray[np.uint8]
"""A path, encoded bytes, a `data:image/...;base64,` URL, base64, a PIL image, uint8 pixels ([height, width] grey or
[height, width, 3 or 4]), {"bytes": ..., "path": ...} of a dataset, or an http(s) URL where they are allowed."""


def load_image(source: ImageSource, *, root: Path | None = None, limits: Limits = DEFAULT_LIMITS) -> ImageRecord:
    """Decode an image once, to know that it can be. Of an animation the first frame; transparency is laid on white.

    root: the folder that paths are relative to and may not leave; None for any path.
    Raises MediaError for a missing, broken, too large or unknown image, and for URLs that are not allowed.
    """
    name = f"image {named(source)}"
    with refused(f"{name} cannot be used"):
        encoded = b"" if isinstance(source, Image.Image | np.ndarray) else contents(source, "image", root, limits)
    with refused(f"{name} cannot be decoded as {', '.join(FORMATS)}"):
        image = _opened(source, encoded)
        check_size(name, image.width, image.height, limits)
        upright = upright_rgb(image)
        return ImageRecord(_fingerprint(upright), upright.width, upright.height, encoded or png(upright))


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Raises MediaError for a picture that is empty, too large or too narrow."""
    if width * height == 0:
        raise MediaError(f"{name} has no pixels: leave it out")
    if width * height > limits.max_pixels:
        raise MediaError(
            f"{name} has {width} x {height} pixels, more than {limits.max_pixels}: scale it down or raise the limit"
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise MediaError(
            f"{name} has {width} x {height} pixels, one side more than {limits.max_aspect:g} times the other: crop it"
        )


def _opened(source: Any, encoded: bytes) -> Image.Image:
    match source:
        case Image.Image():
            return source
        case np.ndarray() if source.dtype != np.uint8:
            raise ValueError(f"its pixels are {source.dtype}; give uint8 in 0..255")
        case np.ndarray():
            return Image.fromarray(source)
        case _:
            return Image.open(BytesIO(encoded), formats=FORMATS)


def _fingerprint(image: Image.Image) -> str:
    return sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()

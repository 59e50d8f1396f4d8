"""Images of prompts: decoded safely, turned upright, known by what they show."""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from os.path import normpath
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageOps

ImageSource: TypeAlias = str | Path | bytes | Image.Image | Mapping[str, Any]
"""A path, encoded bytes, a `data:image/...;base64,` URL, a PIL image, or {"bytes": ..., "path": ...} of a dataset."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_WHITE = (255, 255, 255, 255)


class MediaError(ValueError):
    """Media that cannot be used; names its source and what to do."""


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

    def image(self) -> Image.Image:
        """The image in RGB, upright."""
        with Image.open(BytesIO(self.encoded), formats=FORMATS) as image:
            return _upright_rgb(image)


def load_image(source: ImageSource, *, root: Path | None, max_pixels: int) -> ImageRecord:
    """Decode an image once, to know that it can be. Of an animation the first frame; transparency is laid on white.

    root: the folder that paths are relative to and may not leave; None for any path.
    max_pixels: width x height an image may have; checked from its header, before it is decoded.
    Raises MediaError for a missing, broken, too large or unknown image, and for URLs, which are never fetched.
    """
    name = _name(source)
    encoded = b"" if isinstance(source, Image.Image) else _encoded(source, root, name)
    try:
        image = source if isinstance(source, Image.Image) else Image.open(BytesIO(encoded), formats=FORMATS)
        if image.width * image.height <= max_pixels:
            upright = _upright_rgb(image)
            return ImageRecord(_fingerprint(upright), upright.width, upright.height, encoded or _png(upright))
    except _DECODE_ERRORS as error:
        raise MediaError(f"image {name} cannot be decoded as {', '.join(FORMATS)}: {error}") from error
    raise MediaError(
        f"image {name} has {image.width} x {image.height} pixels, more than {max_pixels}: "
        "scale it down or raise the limit"
    )


def _encoded(source: str | Path | bytes | Mapping[str, Any], root: Path | None, name: str) -> bytes:
    match source:
        case bytes():
            return source
        case {"bytes": bytes(content)}:
            return content
        case {"path": str() | Path() as path}:
            return _file_bytes(Path(path), root, name)
        case Path():
            return _file_bytes(source, root, name)
        case str() if source[:5].lower() == "data:":
            return _data_url_bytes(source, name)
        case str() if _URL.match(source):
            raise MediaError(f"image {name}: URLs are not fetched; download it and give the path of the file")
        case str():
            return _file_bytes(Path(source), root, name)
        case _:
            raise MediaError(f"image {name} is neither a path, bytes, a data URL nor an image")


def _file_bytes(path: Path, root: Path | None, name: str) -> bytes:
    if root is not None:
        path = Path(normpath(root.absolute() / path))
        if not path.is_relative_to(normpath(root.absolute())):
            raise MediaError(f"image {name} lies outside of {root}: only files below it are read")
    try:
        if not path.is_file():
            raise MediaError(f"image {name}: there is no file {_shortened(str(path))}")
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"image {name} cannot be read: {error.strerror}") from error


def _data_url_bytes(url: str, name: str) -> bytes:
    head = _DATA_URL.match(url)
    if head is None:
        raise MediaError(f"image {name}: a data URL must begin with data:image/<format>;base64,")
    try:
        return b64decode("".join(url[head.end() :].split()), validate=True)
    except ValueError as error:
        raise MediaError(f"image {name} is not base64: {error}") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256, "L")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, not colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _fingerprint(image: Image.Image) -> str:
    return sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def _name(source: ImageSource) -> str:
    match source:
        case bytes():
            return f"of {len(source)} bytes"
        case Image.Image():
            return f"of mode {source.mode}"
        case {"path": str() | Path() as path}:
            return _shortened(str(path))
        case {"bytes": bytes(content)}:
            return f"of {len(content)} bytes"
        case _:
            return _shortened(str(source))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"

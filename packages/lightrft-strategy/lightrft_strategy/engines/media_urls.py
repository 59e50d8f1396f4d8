"""Media in the bodies of requests: data URLs that lose nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from struct import pack
from typing import Any


def image_url(image: Any) -> str:
    """A PIL image as PNG."""
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return _url("image/png", encoded.getvalue())


def sound_url(sound: tuple[Any, int]) -> str:
    """([time] float32, samples a second) as WAV of 32-bit floating-point numbers."""
    samples, rate = sound
    data = samples.astype("<f4").tobytes()
    about = pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    wave = b"WAVE" + about + pack("<4sI", b"data", len(data)) + data
    return _url("audio/wav", pack("<4sI", b"RIFF", len(wave)) + wave)


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


URLS: Mapping[str, Callable[[Any], str]] = {"image": image_url, "audio": sound_url}
"""By modality, for a medium as in EngineMedia."""

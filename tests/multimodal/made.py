"""Small media for tests, made on the spot: films whose frames tell their number, and tones."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image


def film(
    form: str = "mp4",
    codec: str = "libx264",
    *,
    frames: int = 40,
    rate: int = 10,
    size: tuple[int, int] = (32, 24),
    key_frame_every: int = 12,
    white: int = 0,
    **options: str,
) -> bytes:
    """A video of even frames, each the grey of `shade` of its number; white: columns on the left that are.

    options: of the codec.
    """
    buffer = BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"g": str(key_frame_every)} | options)
        stream.width, stream.height, stream.bit_rate = *size, 4_000_000
        stream.pix_fmt = {"gif": "gray", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), shade(number), np.uint8)
            picture[:, :white] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def shade(number: int) -> int:
    """The grey of a film's frame."""
    return 16 + 5 * (number % 40)


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    """Which frames of a film these are, up to multiples of 40."""
    return [round((float(frame.mean()) - 16) / 5) for frame in frames]


def tone(seconds: float = 0.5, rate: int = 16_000, pitch: float = 440.0) -> NDArray[np.float32]:
    """[time] a sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound_file(waveform: NDArray[Any], rate: int, form: str = "WAV", **options: Any) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, waveform, rate, format=form, **options)
    return buffer.getvalue()


def song(form: str, codec: str, waveform: NDArray[np.float32], rate: int) -> bytes:
    """A sound in a container that libsndfile does not read."""
    buffer = BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        whole = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        whole.sample_rate = rate
        for frame in [*resampler.resample(whole), None]:
            container.mux(stream.encode(frame))
    return buffer.getvalue()


def picture(form: str = "PNG", size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, form)
    return buffer.getvalue()


def evens(prompts: list[str], responses: list[str], labels: list[object]) -> list[float]:
    """A reward that differs between answers: the share of characters whose code is even."""
    return [sum(ord(letter) % 2 == 0 for letter in response) / max(1, len(response)) for response in responses]

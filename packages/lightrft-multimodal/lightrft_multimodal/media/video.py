"""Videos of prompts: a bounded number of frames, evenly over their length, scaled down and known by what they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightrft_multimodal.media.colours import png
from lightrft_multimodal.media.errors import MediaError, named, refused
from lightrft_multimodal.media.frames import container, decoded, moments, video_stream
from lightrft_multimodal.media.image import ImageSource, load_image
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.records import VideoRecord
from lightrft_multimodal.media.sources import Encoded, opened

VideoSource: TypeAlias = Encoded | Sequence[ImageSource] | NDArray[np.uint8]
"""As of an image, or a list of frames, each any source of an image, or uint8 [frames, height, width, 3]."""


def load_video(source: VideoSource, *, root: Path | None = None, limits: Limits = DEFAULT_LIMITS) -> VideoRecord:
    """Sample a video at limits.fps: between min_frames and max_frames of its frames, evenly over all of them.

    Of N frames in T seconds n = T fps are taken, at least min_frames, at most max_frames and N: number floor(k N / n)
    for k = 0 ... n - 1, which makes n / T frames a second. Only they are converted, one at a time, whatever the length
    of the video. Frames given as a list or array count as sampled at limits.fps already, unless they are too many.
    root: the folder that paths are relative to and may not leave; None for any path.
    Raises MediaError for a missing, broken, too long, too large or unknown video, and for URLs that are not allowed.
    """
    name = f"video {named(source)}"
    with refused(f"{name} cannot be decoded"):
        if isinstance(source, np.ndarray | list | tuple):
            return _of_frames(source, name, root, limits)
        with opened(source, "video", root, limits) as file:
            return _of_file(file, name, limits)


def _of_file(file: BinaryIO, name: str, limits: Limits) -> VideoRecord:
    with container(file, limits) as first_pass:
        stream = video_stream(first_pass, name, limits)
        every = moments(first_pass, stream, name, limits)
        unit, rate = float(stream.time_base or 1), float(stream.average_rate or 0)
    if not every:
        raise MediaError(f"{name} holds no frame: give a file that does")
    gap = (every[-1].at - every[0].at) * unit / max(1, len(every) - 1)
    seconds = len(every) * (gap or 1 / (rate or limits.fps))
    wanted = [every[place] for place in spread(len(every), seconds, limits)]

    def frames() -> Iterator[tuple[float, Image.Image]]:
        with container(file, limits) as second_pass:
            again = video_stream(second_pass, name, limits)
            for at, frame in decoded(second_pass, again, wanted):
                yield (at - every[0].at) * unit, frame

    record = record_of_frames(frames(), len(wanted) / seconds, name, limits)
    if len(record.timestamps) < len(wanted):
        raise MediaError(
            f"{name} can be decoded to {len(record.timestamps)} of the {len(wanted)} frames sampled from it: "
            "mend it or leave it out"
        )
    return record


def _of_frames(source: Sequence[Any] | NDArray[np.uint8], name: str, root: Path | None, limits: Limits) -> VideoRecord:
    count = len(source)
    if count == 0:
        raise MediaError(f"{name} holds no frame: leave it out")
    places = spread(count, count / limits.fps, limits)

    def frames() -> Iterator[tuple[float, Image.Image]]:
        for place in places:
            try:
                frame = load_image(source[place], root=root, limits=limits).image()
            except MediaError as error:
                raise MediaError(f"frame {place} of {name}: {error}") from error
            yield place / limits.fps, frame

    return record_of_frames(frames(), limits.fps * len(places) / count, name, limits)


def spread(count: int, seconds: float, limits: Limits) -> list[int]:
    """Which of a video's frames are sampled."""
    taken = min(count, limits.max_frames, max(round(seconds * limits.fps), limits.min_frames))
    return [place * count // taken for place in range(taken)]


def record_of_frames(frames: Iterable[tuple[float, Image.Image]], fps: float, name: str, limits: Limits) -> VideoRecord:
    """The record of frames, each with its time in seconds: scaled down to limits.frame_pixels, encoded and hashed.

    Raises MediaError if there is none, or if their sizes differ.
    """
    digest, times, encoded = sha256(), list[float](), list[bytes]()
    width = height = 0
    for time, frame in frames:
        width, height = (width, height) if encoded else frame.size
        if frame.size != (width, height):
            raise MediaError(
                f"{name} changes from {width} x {height} to {frame.width} x {frame.height} pixels at "
                f"sampled frame {len(encoded)}: give frames of one size"
            )
        small = frame.resize(within(frame.width, frame.height, limits.frame_pixels), Image.Resampling.BICUBIC)
        digest.update(f"{time:.6f}:".encode() + small.tobytes())
        times.append(round(time, 6))
        encoded.append(png(small))
    if not encoded:
        raise MediaError(f"{name} holds no frame that can be decoded: give a file that does")
    width, height = within(width, height, limits.frame_pixels)
    digest.update(f"{width}x{height}@{fps:.6f}".encode())
    return VideoRecord(digest.hexdigest(), width, height, fps, tuple(times), tuple(encoded))


def within(width: int, height: int, pixels: int) -> tuple[int, int]:
    """The largest size of the same proportions, to the pixel, that has no more pixels; no side is ever 0."""
    scale = min(1.0, (pixels / (width * height)) ** 0.5)
    return max(1, int(width * scale)), max(1, int(height * scale))

"""What a run's prompts show and play, kept beside its answers as files that any browser shows and plays."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lightrft_core import Group
from lightrft_multimodal.media import AudioRecord, ImageRecord, Record, VideoRecord

LONGEST_SIDE = 512
"""Pixels of a picture that is kept; larger ones are scaled down."""

LONGEST_SOUND = 60
"""Seconds of a sound that are kept, the first ones."""

LARGEST_PNG = 150_000
"""Bytes beyond which a picture is kept with losses."""

LARGEST_FOLDER = 2 * 2**30
"""Bytes beyond which a run keeps no more."""


class MediaKeeper:
    """Writes each medium once, as <sha256>.png, .webp, .mp4 or .wav, thumbnails of what it was.

    warn: told of what cannot be kept. largest: bytes that the folder may hold.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None], largest: int = LARGEST_FOLDER) -> None:
        self.folder, self.warn, self.largest = folder, warn, largest
        files = list(folder.iterdir()) if folder.is_dir() else []
        self._kept = {file.stem for file in files}
        self._bytes = sum(file.stat().st_size for file in files)

    def keep(self, groups: Iterable[Group]) -> None:
        """Write what these groups' prompts show and play, unless it is there or the folder is full."""
        for medium in (medium for group in groups for medium in group.prompt.media):
            if not self.largest or medium.sha256 in self._kept or not isinstance(medium, Record):
                continue
            self._kept.add(medium.sha256)
            try:
                suffix, content = presentable(medium)
            except (av.FFmpegError, ValueError) as error:
                self.warn(f"the {medium.modality} {medium.sha256[:12]} of a prompt is not kept for the report: {error}")
                continue
            if self._bytes + len(content) > self.largest:
                self.warn(f"{self.folder} holds {self._bytes / 2**30:.1f} GiB: no more media are kept for the report")
                self.largest = 0
                return
            self._write(f"{medium.sha256}{suffix}", content)

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{name}.unfinished"
        unfinished.write_bytes(content)
        unfinished.rename(self.folder / name)
        self._bytes += len(content)


def presentable(medium: Record) -> tuple[str, bytes]:
    """A file's suffix and its content: a small picture, a small video without sound, or a sound of 16 bits."""
    match medium:
        case ImageRecord():
            return _picture(medium.image())
        case VideoRecord():
            return ".mp4", _video(medium)
        case AudioRecord():
            return ".wav", _sound(medium)


def _picture(image: Image.Image) -> tuple[str, bytes]:
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    content = BytesIO()
    image.save(content, "PNG", optimize=True)
    if content.tell() <= LARGEST_PNG:
        return ".png", content.getvalue()
    smaller = BytesIO()
    image.save(smaller, "WEBP", quality=80)
    return ".webp", smaller.getvalue()


def _sound(sound: AudioRecord) -> bytes:
    samples = sound.waveform()[: LONGEST_SOUND * sound.sampling_rate]
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.sampling_rate)
        file.writeframes((samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return content.getvalue()


def _video(video: VideoRecord) -> bytes:
    """H.264 of even sides, which every browser plays, each frame as long as the video's mean between two."""
    scale = min(1.0, LONGEST_SIDE / max(video.width, video.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (video.width, video.height))
    content = BytesIO()
    with av.open(content, "w", format="mp4") as container:
        rate = Fraction(video.fps).limit_denominator(1000) or Fraction(1)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "26", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in video.frames():
            picture = np.asarray(Image.fromarray(frame).resize((width, height)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()

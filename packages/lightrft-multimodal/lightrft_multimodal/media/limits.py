"""How large, long and fine media may be: read, refused or scaled down by one set of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """What is accepted of media, and what is made of it. Raises ValueError for numbers that accept nothing.

    max_pixels: width x height of an image, or of a frame as a video file holds it; more is refused from the header,
    before anything is decoded. Default: 7680 x 4320, "8K".
    max_aspect: the longer side over the shorter; more is refused, as the processors of the Qwen-VL families refuse it.
    fps: frames a second sampled from a video (default 2, as Qwen2-VL; Wang et al. 2024, arXiv 2409.12191), and the rate
    at which a list of frames is taken to have been sampled.
    min_frames: a video that `fps` would give fewer frames is sampled more finely, as far as it has frames.
    max_frames: a video that `fps` would give more frames is sampled more coarsely, evenly over its whole length.
    frame_pixels: width x height of a sampled frame; larger frames are scaled down to it, sides kept in proportion.
    Default: what 256 tokens of Qwen2-VL show, 28 x 28 pixels each.
    max_video_seconds: a longer video is refused.
    sampling_rate: samples a second of every sound; others are resampled. Default: what Whisper's encoders read.
    min_samples: a shorter sound, counted at sampling_rate, is refused. Default: a tenth of a second, of which every
    encoder makes at least one embedding.
    max_audio_seconds: a longer sound is refused.
    max_bytes: a larger file, download or base64 text is refused before it is read.
    paths: whether files of this machine are read, where no root is given that they must lie below.
    urls: whether http:// and https:// sources are fetched.
    private_urls: whether they may point into private networks and at this machine. Leave it off wherever the data may
    come from others: such a URL reads what only this machine may see.
    url_seconds: for a download from the first byte to the last, redirects included.
    """

    max_pixels: int = 7680 * 4320
    max_aspect: float = 200.0
    fps: float = 2.0
    min_frames: int = 4
    max_frames: int = 64
    frame_pixels: int = 256 * 28 * 28
    max_video_seconds: float = 1800.0
    sampling_rate: int = 16_000
    min_samples: int = 1_600
    max_audio_seconds: float = 300.0
    max_bytes: int = 512 * 2**20
    paths: bool = True
    urls: bool = False
    private_urls: bool = False
    url_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and not (0 < value < math.inf):
                raise ValueError(f"limit {field.name} = {value}: give a number above 0")
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames = {self.min_frames} is more than max_frames = {self.max_frames}: raise it")
        if self.max_aspect < 1:
            raise ValueError(f"max_aspect = {self.max_aspect} refuses everything: give at least 1")


DEFAULT_LIMITS = Limits()

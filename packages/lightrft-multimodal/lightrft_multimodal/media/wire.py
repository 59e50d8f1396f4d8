"""Media records as plain JSON, for another machine that makes the same records of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from lightrft_multimodal.media.audio import load_audio
from lightrft_multimodal.media.errors import MediaError, named, refused
from lightrft_multimodal.media.image import load_image
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.records import AudioRecord, ImageRecord, Record, VideoRecord
from lightrft_multimodal.media.sources import decoded_base64
from lightrft_multimodal.media.video import load_video, record_of_frames

_KEYS = {
    "image": ({"data"},),
    "video": ({"data"}, {"frames", "fps", "timestamps"}),
    "audio": ({"data"}, {"waveform", "sampling_rate"}),
}


def to_wire(record: Record) -> dict[str, Any]:
    """What `from_wire` turns into a record of the same sha256.

    An image is {"modality", "data": base64 of its file}; a video its sampled frames, {"modality", "frames": base64 of a
    picture each, "fps", "timestamps": seconds}; a sound its samples, {"modality", "waveform": base64 of little-endian
    float32, "sampling_rate"}.
    """
    match record:
        case ImageRecord():
            return {"modality": "image", "data": _base64(record.encoded)}
        case VideoRecord():
            frames = [_base64(frame) for frame in record.encoded]
            return {"modality": "video", "frames": frames, "fps": record.fps, "timestamps": list(record.timestamps)}
        case AudioRecord():
            waveform = _base64(record.encoded)
            return {"modality": "audio", "waveform": waveform, "sampling_rate": record.sampling_rate}


def from_wire(part: Mapping[str, Any], *, limits: Limits = DEFAULT_LIMITS) -> Record:
    """The record of what `to_wire` made, or of {"modality", "data": base64 of a file} of any modality.

    Its hash is taken of what arrived: what a sender says about it is not believed.
    Raises MediaError, and nothing else, for everything that cannot be read or is beyond the limits.
    """
    modality = part.get("modality")
    if not isinstance(modality, str) or modality not in _KEYS:
        raise MediaError(f"a medium's modality must be one of {', '.join(_KEYS)}, not {named(modality)}")
    given = part.keys() - {"modality"}
    if given not in _KEYS[modality]:
        ways = " or ".join(", ".join(sorted(keys)) for keys in _KEYS[modality])
        raise MediaError(f"a medium of modality {modality} has {ways}, not {', '.join(sorted(given)) or 'nothing'}")
    with refused(f"{modality} of a request cannot be read"):
        if "frames" in part:
            return _video(part, limits)
        content = _content(part, "waveform" if "waveform" in part else "data", modality, limits)
        if "waveform" in part:
            return load_audio((np.frombuffer(content, "<f4"), part["sampling_rate"]), limits=limits)
        if modality == "image":
            return load_image(content, limits=limits)
        return load_video(content, limits=limits) if modality == "video" else load_audio(content, limits=limits)


def _video(part: Mapping[str, Any], limits: Limits) -> VideoRecord:
    frames, times, fps = part["frames"], part["timestamps"], part["fps"]
    if not isinstance(frames, list) or not isinstance(times, list) or len(frames) != len(times):
        raise MediaError("frames and timestamps of a video must be lists of one length")
    if len(frames) > limits.max_frames:
        raise MediaError(f"a video of {len(frames)} frames has more than {limits.max_frames}: sample it more coarsely")
    if not all(_seconds(time) for time in times) or not _seconds(fps) or fps == 0:
        raise MediaError("timestamps of a video must be seconds from 0, and its fps a number above 0")

    def pictures() -> Iterator[tuple[float, Image.Image]]:
        for place, (time, frame) in enumerate(zip(times, frames, strict=True)):
            content = _content({"frame": frame}, "frame", f"frame {place}", limits)
            yield time, load_image(content, limits=limits).image()

    return record_of_frames(pictures(), fps, "video of a request", limits)


def _content(part: Mapping[str, Any], key: str, name: str, limits: Limits) -> bytes:
    if not isinstance(part[key], str):
        raise MediaError(f"{key} of {name} must be base64, not {named(part[key])}")
    return decoded_base64(part[key], f"{key} of {name}", limits)


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")

"""Media parts of chat messages, in the dialects people write them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightrft_multimodal.media.audio import load_audio
from lightrft_multimodal.media.errors import MediaError, named, refused
from lightrft_multimodal.media.image import load_image
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.records import Record
from lightrft_multimodal.media.sources import decoded_base64
from lightrft_multimodal.media.video import load_video

MODALITIES = {
    "image": "image",
    "image_url": "image",
    "video": "video",
    "video_url": "video",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
}
"""Type of a chat part -> what it is a medium of."""

_PLACES = ("url", "path", "base64", "bytes")
_NOT_READ = frozenset(
    {
        *("max_pixels", "min_pixels", "total_pixels", "resized_height", "resized_width"),
        *("nframes", "num_frames", "video_start", "video_end"),
    }
)


def load_media(part: Mapping[str, Any], *, limits: Limits = DEFAULT_LIMITS, root: Path | None = None) -> Record:
    """The record of one part of a chat message.

    part: {"type": "image", "image": source}, likewise "video" and "audio"; Hugging Face's {"type": "image", "url" or
    "path" or "base64": ...}; OpenAI's {"type": "image_url", "image_url": {"url": ...}} and {"type": "input_audio",
    "input_audio": {"data": base64, "format": ...}}; vLLM's "video_url" and "audio_url". A video's part may also have
    "fps", "min_frames" and "max_frames" of its own, which go before those of the limits, whose max_frames none exceeds.
    limits: what is accepted, and what is made of it. root: the folder that paths are relative to and may not leave.
    Raises MediaError, and nothing else, for every part and medium that cannot be used.
    """
    with refused(f"the media part {named(part)} cannot be read"):
        if not isinstance(part, Mapping):
            raise MediaError(f"a media part must be a mapping with a type, not {named(part)}")
        given = {key: value for key, value in part.items() if value is not None}
        kind = given.get("type")
        if not isinstance(kind, str) or kind not in MODALITIES:
            raise MediaError(f"a media part's type must be one of {', '.join(MODALITIES)}, not {named(kind)}")
        if unread := sorted(_NOT_READ & given.keys()):
            raise MediaError(f"a part's {', '.join(unread)} are not read: remove them; limits hold for all media alike")
        source = _source(given, kind, limits)
        match MODALITIES[kind]:
            case "image":
                return load_image(source, root=root, limits=limits)
            case "video":
                return load_video(source, root=root, limits=_own(given, limits))
            case _:
                return load_audio(source, root=root, limits=limits)


def _source(part: Mapping[str, Any], kind: str, limits: Limits) -> Any:
    """What a loader takes, out of any of the dialects."""
    keys = [key for key in (kind, MODALITIES[kind], *_PLACES) if key in part]
    if not keys:
        raise MediaError(f'a part of type {kind} must hold its source: {{"type": "{kind}", "{kind}": ...}}')
    source = part[keys[0]]
    match source:
        case {"url": str() as url}:
            return url
        case {"data": str() as text}:
            return decoded_base64(text, f"{MODALITIES[kind]} {named(text)}", limits)
        case str() if keys[0] == "base64":
            return decoded_base64(source, f"{MODALITIES[kind]} {named(source)}", limits)
        case _:
            return source


def _own(part: Mapping[str, Any], limits: Limits) -> Limits:
    fps = _number(part, "fps", limits.fps)
    most = min(limits.max_frames, int(_number(part, "max_frames", limits.max_frames)))
    least = min(most, int(_number(part, "min_frames", limits.min_frames)))
    return replace(limits, fps=fps, min_frames=least, max_frames=most)


def _number(part: Mapping[str, Any], key: str, otherwise: float) -> float:
    """What the part says; fps of a thousandth at least, the others of 1."""
    value, least = part.get(key, otherwise), 0.001 if key == "fps" else 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not (least <= value <= 1e6):
        said = f'"{named(value)}"' if isinstance(value, str) else named(value)
        raise MediaError(f"a video part's {key} must be a number from {least} to 1e6, not {said}")
    return value

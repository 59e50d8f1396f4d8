"""Frames of a video file, decoded in order, one at a time, and only where some are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from lightrft_multimodal.media.errors import MediaError
from lightrft_multimodal.media.image import check_size
from lightrft_multimodal.media.limits import Limits

CONTAINERS = ("asf", "avi", "flv", "gif", "matroska", "webm", "mov", "mp4", "mpeg", "mpegts", "ogg", "aac")
"""Formats of FFmpeg that are read. None of them makes it open another file or address, as playlists do."""

MOST_FRAMES_A_SECOND = 240


@dataclass(frozen=True)
class Moment:
    """A frame as the file announces it, before it is decoded.

    at: its time in the stream's units. start: the number, in reading order, of the group of pictures (from a key frame
    to the next) with which decoding must begin to get it.
    """

    at: int
    start: int


@contextmanager
def container(file: BinaryIO, limits: Limits) -> Iterator[InputContainer]:
    """A file of one of CONTAINERS from its beginning; FFmpeg reads nothing but this file.

    Raises ValueError for other formats, and what FFmpeg raises for broken files.
    """
    file.seek(0)
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "none",
        "max_pixels": str(limits.max_pixels),
        "threads": "1",
    }
    try:
        opened = av.open(file, "r", options=options, metadata_errors="replace")
    except av.error.ArgumentError as error:
        raise ValueError(f"it is of none of the formats {', '.join(CONTAINERS)}") from error
    with opened:
        yield opened


def video_stream(opened: InputContainer, name: str, limits: Limits) -> VideoStream:
    """The first video of a container in a codec that is known, covers of songs left aside.

    Raises MediaError if there is none to use.
    """
    for stream in opened.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            check_size(f"a frame of {name}", stream.width, stream.height, limits)
            stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
            stream.codec_context.thread_count = 1
            return stream
    raise MediaError(f"{name} holds no moving picture: give a file that does")


def announced(opened: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Seconds that a container says a stream lasts; 0.0 where it does not, or only guesses from its first bytes."""
    if opened.format.name == "aac":
        return 0.0
    if stream.duration is not None:
        return float(stream.duration * (stream.time_base or 0))
    return (opened.duration or 0) / av.time_base if len(opened.streams) == 1 else 0.0


def moments(opened: InputContainer, stream: VideoStream, name: str, limits: Limits) -> list[Moment]:
    """Every frame of a video in order of time, from its packets alone: nothing is decoded.

    Raises MediaError for a video that is too long, has more than MOST_FRAMES_A_SECOND or ends before its last frame, or
    long before its announced end.
    """
    unit = Fraction(stream.time_base or 1)
    most = int(limits.max_video_seconds * MOST_FRAMES_A_SECOND)
    found: list[Moment] = []
    group, key_frame, end = -1, 0, 0
    for packet in opened.demux(stream):
        at = packet.dts if packet.pts is None else packet.pts
        if packet.size == 0 or at is None:
            continue
        if packet.is_keyframe:
            group, key_frame = group + 1, at
        found.append(Moment(at, max(0, group - (at < key_frame))))
        end = max(end, at + (packet.duration or 0))
        if len(found) > most or abs(at - found[0].at) * unit > limits.max_video_seconds:
            raise MediaError(
                f"{name} is longer than {limits.max_video_seconds:g} seconds, or has more than {MOST_FRAMES_A_SECOND} "
                "frames a second: cut it or raise the limit"
            )
    if 10 * len(found) < 9 * stream.frames:
        raise MediaError(f"{name} ends after {len(found)} of its {stream.frames} frames: give the whole file")
    found.sort(key=lambda moment: moment.at)
    if len(found) > 1 and not stream.frames:
        lasts, between = announced(opened, stream), (found[-1].at - found[0].at) / (len(found) - 1)
        read = float((max(end, found[-1].at + between) - found[0].at) * unit)
        if read < 0.9 * lasts:
            raise MediaError(f"{name} ends after {read:.2f} of its {lasts:.2f} seconds: give the whole file")
    return found


def decoded(opened: InputContainer, stream: VideoStream, wanted: list[Moment]) -> Iterator[tuple[int, Image.Image]]:
    """Of each wanted moment, in order, its time and its frame upright in RGB, or the next one that the decoder gives.

    Groups of pictures that hold no wanted frame are read over. Raises ValueError for a damaged frame.
    """
    pending = deque(wanted)
    group, passed_over = -1, False
    for packet in opened.demux(stream):
        group += packet.is_keyframe
        if pending and packet.size and group < pending[0].start:
            passed_over = True
            continue
        if passed_over:
            stream.codec_context.flush_buffers()
            passed_over = False
        for frame in packet.decode():
            at = frame.dts if frame.pts is None else frame.pts
            if not pending:
                return
            if at is not None and at >= pending[0].at:
                pending.popleft()
                if frame.is_corrupt:
                    raise ValueError(f"the frame {float(at * (frame.time_base or 1)):.3f} seconds into it is damaged")
                yield at, _upright(Image.fromarray(frame.to_ndarray(format="rgb24")), frame.rotation)


def _upright(image: Image.Image, rotation: int) -> Image.Image:
    turn = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    degrees = round(rotation / 90) * 90 % 360
    return image.transpose(turn[degrees]) if degrees else image

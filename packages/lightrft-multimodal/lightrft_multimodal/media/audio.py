"""Sounds of prompts: one channel at one rate, in 32-bit floats, known by what they play."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from lightrft_multimodal.media.errors import MediaError, named, refused
from lightrft_multimodal.media.frames import announced, container
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.records import AudioRecord
from lightrft_multimodal.media.sources import Encoded, opened

AudioSource: TypeAlias = Encoded | tuple[NDArray[Any] | Sequence[float], int] | Mapping[str, Any]
"""A path, encoded bytes, a `data:audio/...;base64,` URL, base64, a pair of a waveform and its rate,
{"array": ..., "sampling_rate": ...} or {"bytes": ..., "path": ...} of a dataset, a decoder of torchcodec, or an http(s)
URL where they are allowed. Waveforms are [time] or channels beside it, whole numbers at their type's full scale."""

SLOWEST, FASTEST = 1_000, 384_000
"""Rates that are read, samples a second."""

LOUDEST = 10.0
"""Beyond it, samples in floats are not in -1..1 but of another scale, or broken."""

_SOUND_FILES = frozenset({"AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX"})
_BLOCK = 2**18


def load_audio(source: AudioSource, *, root: Path | None = None, limits: Limits = DEFAULT_LIMITS) -> AudioRecord:
    """Decode a sound, mix its channels to their mean and resample it to limits.sampling_rate (soxr, quality HQ).

    Files are read by libsndfile (WAV, FLAC, OGG, MP3, AIFF, ...) or, where it cannot, by FFmpeg (M4A, AAC, WebM, and
    the sound of videos), block by block, so that memory is bounded by limits.max_audio_seconds.
    root: the folder that paths are relative to and may not leave; None for any path.
    Raises MediaError for a missing, broken, cut off, unknown, too short or too long sound, for samples that are not
    finite or beyond LOUDEST, for rates outside of SLOWEST..FASTEST, and for URLs that are not allowed.
    """
    name = f"audio {named(source)}"
    with refused(f"{name} cannot be decoded"):
        match source:
            case {"array": array, "sampling_rate": rate} if array is not None:
                return _record(_of_array(array, rate, name, limits), name, limits)
            case (waveform, int() | float() | np.integer() as rate):
                return _record(_of_array(waveform, rate, name, limits), name, limits)
            case np.ndarray():
                raise MediaError(f"{name} is a waveform without its rate: give (waveform, samples a second)")
            case _ if hasattr(source, "get_all_samples"):
                return _record(_of_decoder(source, name, limits), name, limits)
            case _:
                with opened(source, "audio", root, limits) as file:
                    return _record(_of_file(file, name, limits), name, limits)


Blocks: TypeAlias = Iterator[tuple[int, NDArray[np.float32]]]
"""Rate and [time] samples of one channel, in order."""


def _of_file(file: BinaryIO, name: str, limits: Limits) -> Blocks:
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError:
        yield from _of_container(file, name, limits)
        return
    with sound:
        if sound.format not in _SOUND_FILES:
            raise MediaError(f"{name} looks like {sound.format}: give {', '.join(sorted(_SOUND_FILES))}, M4A or MP4")
        read = 0
        while len(block := sound.read(max(1, _BLOCK // sound.channels), "float32", always_2d=True)):
            read += len(block)
            yield sound.samplerate, block.mean(axis=1)
        if 10 * read < 9 * sound.frames:
            raise MediaError(f"{name} ends after {read} of its {sound.frames} samples: give the whole file")


def _of_container(file: BinaryIO, name: str, limits: Limits) -> Blocks:
    with container(file, limits) as whole:
        stream = next(iter(whole.streams.audio), None)
        if stream is None:
            raise MediaError(f"{name} holds no sound: give a file that does")
        lasts, floats = announced(whole, stream), AudioResampler(format="fltp")
        begin, read = None, 0.0
        for frame in whole.decode(stream):
            seconds, at = frame.samples / frame.sample_rate, read if frame.time is None else frame.time
            begin = at if begin is None else begin
            read = max(read + seconds, at - begin + seconds)
            for part in floats.resample(frame):
                yield frame.sample_rate, part.to_ndarray().mean(axis=0, dtype=np.float32)
        if read < 0.9 * lasts:
            raise MediaError(f"{name} ends after {read:.2f} of its {lasts:.2f} seconds: give the whole file")


def _of_decoder(decoder: Any, name: str, limits: Limits) -> Blocks:
    announced = getattr(getattr(decoder, "metadata", None), "duration_seconds", None)
    if announced is not None and announced > limits.max_audio_seconds:
        raise MediaError(_too_long(name, limits))
    samples = decoder.get_all_samples()
    return _of_array(np.asarray(samples.data), samples.sample_rate, name, limits)


def _of_array(array: Any, rate: Any, name: str, limits: Limits) -> Blocks:
    if (
        not isinstance(array, np.ndarray)
        and hasattr(array, "__len__")
        and len(array) > limits.max_audio_seconds * FASTEST
    ):
        raise MediaError(_too_long(name, limits))
    if not isinstance(rate, int | float | np.integer | np.floating) or rate % 1 != 0:
        raise MediaError(f"{name} has the rate {named(rate)}: give samples a second as a whole number")
    waveform = np.asarray(array)
    if waveform.dtype.kind not in "iuf" or waveform.ndim not in (1, 2):
        raise ValueError(f"a waveform is [time] or [channels, time] of numbers, not {waveform.dtype} {waveform.shape}")
    if waveform.ndim == 2 and waveform.shape[0] < waveform.shape[1]:
        waveform = waveform.T
    for start in range(0, len(waveform) if waveform.size else 0, _BLOCK):
        yield int(rate), _mono(waveform[start : start + _BLOCK])


def _mono(block: NDArray[Any]) -> NDArray[np.float32]:
    """One channel of floats; whole numbers at their type's full scale as -1..1, unsigned ones centred."""
    with np.errstate(all="ignore"):
        if block.dtype.kind in "iu":
            half = 2.0 ** (8 * block.dtype.itemsize - 1)
            block = block.astype(np.float64) / half - (block.dtype.kind == "u")
        return (block.mean(axis=1) if block.ndim == 2 else block).astype(np.float32)


def _record(blocks: Blocks, name: str, limits: Limits) -> AudioRecord:
    heard = list(_resampled(blocks, name, limits))
    samples = np.concatenate(heard) if heard else np.zeros(0, np.float32)
    if len(samples) < limits.min_samples:
        raise MediaError(
            f"{name} has {len(samples)} samples at {limits.sampling_rate} a second, less than {limits.min_samples}: "
            "leave it out or pad it with silence"
        )
    encoded = samples.astype("<f4").tobytes()
    digest = sha256(f"{limits.sampling_rate}:".encode() + encoded).hexdigest()
    return AudioRecord(digest, limits.sampling_rate, encoded)


def _resampled(blocks: Blocks, name: str, limits: Limits) -> Iterator[NDArray[np.float32]]:
    first, seconds, stream = None, 0.0, None
    for rate, block in blocks:
        if not SLOWEST <= rate <= FASTEST:
            raise MediaError(f"{name} has {named(rate)} samples a second, not {SLOWEST} to {FASTEST}: resample it")
        if first is None and rate != limits.sampling_rate:
            stream = soxr.ResampleStream(rate, limits.sampling_rate, 1, "float32", "HQ")
        if rate != (first := first or rate):
            raise MediaError(f"{name} changes its rate from {first} to {rate} samples a second: resample it")
        seconds += len(block) / rate
        if seconds > limits.max_audio_seconds:
            raise MediaError(_too_long(name, limits))
        if not (loudest := np.abs(block).max(initial=0.0)) <= LOUDEST:
            raise MediaError(f"{name} reaches {loudest:g}: mend it, or scale its samples to -1..1")
        yield stream.resample_chunk(block) if stream else block
    if stream:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _too_long(name: str, limits: Limits) -> str:
    return f"{name} is longer than {limits.max_audio_seconds:g} seconds: cut it or raise the limit"

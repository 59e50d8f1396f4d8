"""Media as the processors of model families and the engines of other projects take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lightrft_core import Media
from lightrft_multimodal.media import MediaError


def decoded(processor: Any, media: Sequence[Media]) -> dict[str, list[Any]]:
    """By modality, in reading order, those that there are.

    Images: PIL images in RGB. Videos: ([frames, height, width, 3] uint8, metadata). Sounds: ([time] float32, samples a
    second). Raises MediaError for sounds that the processor would cut or mistime.
    """
    items: dict[str, list[Any]] = {}
    for medium in media:
        items.setdefault(medium.modality, []).append(_DECODE[medium.modality](processor, medium))
    return items


def processor_arguments(items: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What a processor is called with besides the text of the one prompt whose media these are.

    Images and videos are nested by prompt, as the processors' own chat templates pass them: some cut the only image of
    a prompt finer than one of several.
    """
    arguments: dict[str, Any] = {}
    if images := items.get("image"):
        arguments["images"] = [list(images)]
    if videos := items.get("video"):
        arguments["videos"] = [[frames for frames, _ in videos]]
        metadata = [dict(about) for _, about in videos]
        arguments["videos_kwargs"] = {"video_metadata": [metadata], "do_sample_frames": False}
    if sounds := items.get("audio"):
        arguments["audio"] = [samples for samples, _ in sounds]
        arguments["audio_kwargs"] = {"sampling_rate": sounds[0][1]}
    return arguments


def _image(processor: Any, medium: Any) -> Any:
    return medium.image()


def _video(processor: Any, medium: Any) -> tuple[Any, dict[str, Any]]:
    frames = medium.frames()
    count, height, width = frames.shape[:3]
    return frames, {
        "total_num_frames": count,
        "fps": medium.fps,
        "height": height,
        "width": width,
        "duration": count / medium.fps,
        "frames_indices": list(range(count)),
    }


def _sound(processor: Any, medium: Any) -> tuple[Any, int]:
    hearing, samples = processor.feature_extractor, np.asarray(medium.waveform(), np.float32)
    if medium.sampling_rate != hearing.sampling_rate:
        raise MediaError(
            f"a sound has {medium.sampling_rate} samples a second and the model hears {hearing.sampling_rate}: "
            "resample it where it is loaded"
        )
    if len(samples) > hearing.n_samples:
        raise MediaError(
            f"a sound is {len(samples) / hearing.sampling_rate:.1f} s long and the model hears "
            f"{hearing.n_samples / hearing.sampling_rate:g} s at once: cut it"
        )
    if len(samples) < SHORTEST_SOUND * hearing.sampling_rate:
        raise MediaError(f"a sound of {len(samples)} samples is too short to be heard: {SHORTEST_SOUND} s are needed")
    return samples, hearing.sampling_rate


SHORTEST_SOUND = 0.04
"""Seconds; of less, towers of Whisper's kind make no embedding."""

_DECODE: dict[str, Callable[[Any, Any], Any]] = {"image": _image, "video": _video, "audio": _sound}

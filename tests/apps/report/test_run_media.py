"""What prompts show and play, kept beside the answers: once each, small, and readable by anybody."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lightrft_apps.recording.media import LONGEST_SIDE, MediaKeeper, presentable
from lightrft_core import Group, Prompt
from lightrft_multimodal.media import load_audio, load_image, load_video


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def group(*media: object) -> Group:
    return Group(Prompt("a", (), "?", (1,), media=media), [])  # type: ignore[arg-type]


def test_a_picture_is_kept_as_it_is_or_scaled_down_to_its_longest_side() -> None:
    suffix, content = presentable(load_image(noise(20, 30)))
    assert suffix == ".png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(content))), noise(20, 30))
    suffix, content = presentable(load_image(noise(600, 1200)))
    assert suffix == ".webp"
    assert Image.open(BytesIO(content)).size == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_a_sound_is_kept_with_its_samples_to_a_sixteenth_bit() -> None:
    heard = np.sin(np.arange(16000) / 10) * np.linspace(0, 1.5, 16000)
    record = load_audio((heard, 16000))
    suffix, content = presentable(record)
    with wave.open(BytesIO(content)) as file:
        assert (suffix, file.getframerate(), file.getnchannels()) == (".wav", 16000, 1)
        kept = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    assert np.abs(kept - record.waveform().clip(-1, 1)).max() < 1e-4


def test_a_video_is_kept_with_all_its_frames_in_order_and_time() -> None:
    grey = [np.full((33, 47, 3), shade, dtype=np.uint8) for shade in (20, 90, 160, 230)]
    suffix, content = presentable(load_video(grey))
    assert suffix == ".mp4"
    with av.open(BytesIO(content)) as file:
        frames = list(file.decode(video=0))
    assert [round(float(frame.to_ndarray(format="rgb24").mean()), -1) for frame in frames] == [20, 90, 160, 230]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.5, 1.0, 1.5])
    assert (frames[0].width % 2, frames[0].height % 2) == (0, 0)


def test_each_medium_is_written_once_also_by_a_run_that_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    one, other = load_image(noise(20, 30)), load_image(noise(21, 30))
    MediaKeeper(tmp_path / "media", told.append).keep([group(one, one), group(other)])
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "media").iterdir()}
    assert kept.keys() == {f"{one.sha256}.png", f"{other.sha256}.png"}
    MediaKeeper(tmp_path / "media", told.append).keep([group(one)])
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "media").iterdir()} == kept
    assert told == []


def test_a_full_folder_takes_no_more_and_says_so_once(tmp_path: Path) -> None:
    told: list[str] = []
    keeper = MediaKeeper(tmp_path, told.append, largest=len(presentable(load_image(noise(20, 30)))[1]) + 10)
    keeper.keep([group(load_image(noise(20, 30))), group(load_image(noise(21, 30))), group(load_image(noise(22, 30)))])
    assert len(list(tmp_path.iterdir())) == 1
    assert len(told) == 1
    assert "no more media are kept" in told[0]


def test_what_is_known_by_its_hash_alone_is_passed_over(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Shown:
        modality: str = "image"
        sha256: str = "ab"

    MediaKeeper(tmp_path / "media", print).keep([group(Shown())])
    assert not (tmp_path / "media").exists()

"""Sounds as data: one channel at one rate from every source, within the limits."""

from __future__ import annotations

import pickle
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_multimodal import AudioRecord, Limits, MediaError, load_audio

from .made import film, song, sound_file, tone

RATE = 16_000
TONE = tone()
WAV = sound_file(TONE, RATE, subtype="FLOAT")


def load(source: Any, root: Path | None = None, **limits: Any) -> AudioRecord:
    return load_audio(source, root=root, limits=Limits(**limits))


def test_every_source_of_the_same_sound_gives_the_same_record(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=TONE[None], sample_rate=RATE))
    sources = [
        *(WAV, tmp_path / "a.wav", "a.wav", b64encode(WAV).decode()),
        "data:audio/x-wav;codecs=1;base64," + b64encode(WAV).decode(),
        *({"bytes": WAV, "path": None}, {"bytes": None, "path": "a.wav"}),
        {"array": TONE, "sampling_rate": RATE, "path": None},
        {"array": TONE.tolist(), "sampling_rate": float(RATE)},
        *((TONE, RATE), [TONE.tolist(), RATE], (np.stack([TONE, TONE]), np.int64(RATE))),
        *((np.stack([TONE, TONE], axis=1), RATE), (TONE.astype(np.float64), RATE), decoder),
    ]
    records = [load(source, tmp_path) for source in sources]
    assert len(set(records)) == 1
    record = pickle.loads(pickle.dumps(records[0]))
    assert record == records[0]
    assert (record.modality, record.sampling_rate, record.samples, record.seconds) == ("audio", RATE, 8000, 0.5)
    assert record.waveform().dtype == np.float32
    assert np.array_equal(record.waveform(), TONE)


def test_other_samples_or_another_rate_make_another_record() -> None:
    other = TONE.copy()
    other[77] += 1e-6
    records = [load((TONE, RATE)), load((other, RATE)), load((TONE, 2 * RATE), sampling_rate=2 * RATE)]
    assert len({record.sha256 for record in records}) == 3


def test_channels_are_mixed_to_their_mean_and_whole_numbers_brought_to_one() -> None:
    left, right = tone(pitch=300), tone(pitch=700)
    mixed = load((np.stack([left, right]), RATE)).waveform()
    assert np.allclose(mixed, (left + right) / 2, atol=1e-7)
    both = sound_file(np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load(both).waveform(), mixed, atol=1e-7)
    whole = (np.stack([left, right]) * 32767).astype(np.int16)
    assert np.allclose(load((whole, RATE)).waveform(), mixed, atol=1e-3)
    for numbers in (np.int16, np.int32):
        whole = (TONE * np.iinfo(numbers).max).astype(numbers)
        assert np.abs(load((whole, RATE)).waveform() - TONE).max() < 2e-4
    centred = ((TONE + 1) * 127.5).astype(np.uint8)
    assert np.abs(load((centred, RATE)).waveform() - TONE).max() < 2e-2


@pytest.mark.parametrize(
    ("form", "options", "loss"),
    [("FLAC", {}, 1e-4), ("OGG", {}, 0.1), ("MP3", {}, 0.1), ("AIFF", {}, 1e-4), ("WAV", {"subtype": "ULAW"}, 0.02)],
)
def test_files_of_every_format_play_the_same(form: str, options: dict[str, Any], loss: float) -> None:
    waveform = load(sound_file(TONE, RATE, form, **options)).waveform()
    assert np.abs(waveform[500:7500] - TONE[500:7500]).max() < loss


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("adts", "aac"), ("matroska", "ac3")])
def test_what_libsndfile_does_not_read_ffmpeg_does(form: str, codec: str) -> None:
    record = load(song(form, codec, tone(1.0, 44_100), 44_100))
    loudest = np.abs(np.fft.rfft(record.waveform()[2000:14000]))
    assert loudest.argmax() * RATE / 12000 == pytest.approx(440, abs=2)
    assert record.seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("form", "codec"), [("matroska", "ac3"), ("webm", "libopus"), ("mp4", "aac")])
def test_a_container_that_ends_before_its_sound_does_is_refused(form: str, codec: str) -> None:
    whole = song(form, codec, tone(3.0, 48_000), 48_000)
    assert load(whole).seconds == pytest.approx(3.0, abs=0.1)
    with pytest.raises(
        MediaError, match=r"ends after \d\.\d\d of its 3\.\d\d seconds: give the whole|cannot be decoded"
    ):
        load(whole[: len(whole) * 7 // 10])


def test_a_length_that_is_guessed_from_the_first_bytes_is_not_held_against_a_sound() -> None:
    loud = 0.5 * np.random.default_rng(0).uniform(-1, 1, 48_000).astype(np.float32)
    silent = np.zeros(2 * 48_000, np.float32)
    assert load(song("adts", "aac", np.concatenate([silent, loud]), 48_000)).seconds == pytest.approx(3.0, abs=0.1)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000]), st.floats(0.11, 12.0))
def test_resampling_in_blocks_equals_resampling_at_once(rate: int, seconds: float) -> None:
    waveform = tone(seconds, rate) + np.float32(0.1) * tone(seconds, rate, 1333.0)
    record = load((waveform, rate))
    at_once = soxr.resample(waveform, rate, RATE, "HQ")
    assert record.samples == len(at_once)
    assert np.abs(record.waveform() - at_once).max() < 1e-6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.wav", r"audio gone\.wav: there is no file"),
        ("s3://bucket/a.wav", r"audio s3://bucket/a\.wav: URLs are not fetched"),
        ("data:image/png;base64,eA==", "must begin with data:audio/<format>;base64,"),
        (b"", "audio of 0 bytes cannot be decoded"),
        (WAV[:20], "cannot be decoded"),
        (sound_file(TONE, RATE, "MP3")[:1500], r"ends after \d+ of its \d+ samples: give the whole file"),
        (sound_file(TONE, RATE, "FLAC")[:2000], r"ends after|cannot be decoded"),
        (sound_file(TONE, RATE, "WAV")[:44], "has 0 samples at 16000 a second, less than 1600: leave it out"),
        (film(), "holds no sound: give a file that does"),
        (sound_file(TONE, RATE, "VOC", subtype="PCM_16"), "looks like VOC: give AIFF, AU"),
        ((np.zeros(0, np.float32), RATE), r"audio of type tuple has 0 samples"),
        ((TONE[:1599], RATE), "has 1599 samples at 16000 a second, less than 1600"),
        ((np.full(9000, np.nan), RATE), "reaches nan: mend it"),
        ((np.full(9000, 1e300), RATE), "reaches inf: mend it"),
        ((TONE * 32768, RATE), r"reaches 1638\d: mend it, or scale its samples to -1..1"),
        (sound_file(np.full(9000, np.nan), RATE, subtype="FLOAT"), "reaches nan"),
        ((TONE, 0), "has 0 samples a second, not 1000 to 384000: resample it"),
        ((TONE, 10**400), "has of type int samples a second"),
        ((TONE, -16_000), "has -16000 samples a second"),
        ((TONE, float("nan")), "has the rate nan: give samples a second as a whole number"),
        ((TONE, float("inf")), "has the rate inf"),
        ((TONE, True), "has 1 samples a second"),
        ({"array": TONE, "sampling_rate": None}, "has the rate None"),
        ({"array": [["a"]], "sampling_rate": RATE}, "a waveform is .* of numbers"),
        ({"array": [[1.0], [1.0, 2.0]], "sampling_rate": RATE}, "cannot be decoded"),
        ((np.zeros((2, 2, 2)), RATE), r"not float64 \(2, 2, 2\)"),
        (TONE, "is a waveform without its rate"),
        (7, "audio 7 is neither a path, bytes, a data URL nor a pair of a waveform and its rate"),
    ],
)
def test_what_is_no_sound_is_an_error_that_names_it(source: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        load(source, tmp_path)


def test_long_sounds_are_refused_before_they_are_read_whole() -> None:
    hour = sound_file(np.zeros(3600 * 1000, np.int16), 1000, "FLAC")
    with pytest.raises(MediaError, match="is longer than 60 seconds: cut it or raise the limit"):
        load(hour, max_audio_seconds=60)
    assert load((TONE, RATE), max_audio_seconds=0.5).seconds == 0.5
    with pytest.raises(MediaError, match=r"is longer than 0\.49 seconds"):
        load((TONE, RATE), max_audio_seconds=0.49)
    endless = SimpleNamespace(metadata=SimpleNamespace(duration_seconds=1e6))
    endless.get_all_samples = lambda: pytest.fail("it was decoded")
    with pytest.raises(MediaError, match="is longer than 300 seconds"):
        load(endless)
    with pytest.raises(MediaError, match="is longer than 300 seconds"):
        load((range(10**12), RATE))

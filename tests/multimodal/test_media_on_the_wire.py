"""Media records travel as JSON and arrive as the records that left, known by the same hash."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_multimodal import Limits, MediaError, Record, from_wire, load_audio, load_image, load_video, to_wire

from .made import film, picture, sound_file, tone

RECORDS: dict[str, Record] = {
    "png": load_image(picture()),
    "jpeg": load_image(picture("JPEG", (40, 30))),
    "film": load_video(film(), limits=Limits(fps=3.7)),
    "gif": load_video(film("gif", "gif")),
    "tone": load_audio((tone(0.4), 16_000)),
    "slow tone": load_audio((tone(0.4, 11_025), 11_025)),
}


def encoded(content: bytes) -> str:
    return b64encode(content).decode()


@pytest.mark.parametrize("name", RECORDS)
def test_what_arrives_is_what_left(name: str) -> None:
    record = RECORDS[name]
    arrived = from_wire(json.loads(json.dumps(to_wire(record))))
    assert arrived == record
    assert arrived.sha256 == record.sha256
    again = from_wire(to_wire(arrived))
    assert again.encoded == arrived.encoded


@pytest.mark.parametrize(
    ("modality", "content"),
    [("image", picture("JPEG")), ("video", film()), ("audio", sound_file(tone(), 16_000))],
)
def test_files_travel_as_they_are(modality: str, content: bytes) -> None:
    loaders: dict[str, Any] = {"image": load_image, "video": load_video, "audio": load_audio}
    assert from_wire({"modality": modality, "data": encoded(content)}) == loaders[modality](content)


def test_a_hash_is_taken_of_what_arrived() -> None:
    changed = to_wire(RECORDS["film"])
    changed["frames"][1] = changed["frames"][0]
    assert from_wire(changed).sha256 != RECORDS["film"].sha256
    later = to_wire(RECORDS["film"])
    later["timestamps"][-1] += 0.5
    assert from_wire(later).sha256 != RECORDS["film"].sha256


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"modality": "smell", "data": ""}, "modality must be one of image, video, audio"),
        ({"data": ""}, "modality must be one of"),
        ({"modality": "image"}, "image has data, not nothing"),
        ({"modality": "image", "data": "", "url": "x"}, "image has data, not data, url"),
        ({"modality": "video", "frames": []}, "video has data or fps, frames, timestamps, not frames"),
        ({"modality": "image", "data": "?"}, "not base64"),
        ({"modality": "image", "data": 3}, "must be base64, not 3"),
        ({"modality": "image", "data": encoded(b"nothing")}, "cannot be decoded"),
        ({"modality": "audio", "waveform": encoded(b"abc"), "sampling_rate": 16_000}, "buffer size"),
        ({"modality": "audio", "waveform": encoded(bytes(8000)), "sampling_rate": "fast"}, "rate"),
        ({"modality": "video", "frames": ["", ""], "fps": 2.0, "timestamps": [0.0]}, "of one length"),
        ({"modality": "video", "frames": [encoded(picture())], "fps": 0, "timestamps": [0.0]}, "fps a number above 0"),
        ({"modality": "video", "frames": [encoded(picture())], "fps": 2, "timestamps": [-1]}, "seconds from 0"),
        ({"modality": "video", "frames": [""] * 65, "fps": 2, "timestamps": [0] * 65}, "more than 64"),
        ({"modality": "video", "frames": [], "fps": 2, "timestamps": []}, "holds no frame"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(part: dict[str, Any], words: str) -> None:
    with pytest.raises(MediaError, match=words):
        from_wire(part)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150)
@given(st.data())
def test_no_message_makes_it_fail_otherwise(data: st.DataObject) -> None:
    part = to_wire(RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))])
    part[data.draw(st.sampled_from([*part, "other"]))] = data.draw(JSON)
    try:
        from_wire(part)
    except MediaError as error:
        assert str(error).isprintable()

"""Media parts of chat messages: every dialect gives the record of its loader, and options are kept or refused."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightrft_multimodal import Limits, MediaError, load_audio, load_image, load_media, load_video

from .made import film, picture, sound_file, tone

PICTURE, FILM, SOUND = picture(), film(), sound_file(tone(), 16_000)
BASE64 = {
    name: b64encode(content).decode() for name, content in [("image", PICTURE), ("video", FILM), ("audio", SOUND)]
}
EXPECTED = {"image": load_image(PICTURE), "video": load_video(FILM), "audio": load_audio(SOUND)}


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_every_dialect_gives_the_same_record(modality: str, tmp_path: Path) -> None:
    content = {"image": PICTURE, "video": FILM, "audio": SOUND}[modality]
    (tmp_path / "a.bin").write_bytes(content)
    url = f"data:{modality}/x;base64,{BASE64[modality]}"
    parts: list[dict[str, Any]] = [
        *({"type": modality, modality: source} for source in (content, "a.bin", url, BASE64[modality])),
        {"type": modality, modality: {"bytes": content, "path": None}, "text": None, "caption": "a caption"},
        {"type": modality, modality: None, "path": "a.bin"},
        *({"type": modality, "url": url}, {"type": modality, "base64": BASE64[modality]}),
        *({"type": f"{modality}_url", f"{modality}_url": held} for held in (url, {"url": url, "detail": "high"})),
    ]
    if modality == "audio":
        parts.append({"type": "input_audio", "input_audio": {"data": BASE64["audio"], "format": "wav"}})
    for part in parts:
        record = load_media(part, root=tmp_path)
        assert record == EXPECTED[modality]
        assert record.modality == modality


def test_arrays_are_media_too() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert load_media({"type": "image", "image": pixels}) == load_image(pixels)
    assert load_media({"type": "video", "video": np.stack([pixels] * 3)}) == load_video([pixels] * 3)
    assert load_media({"type": "audio", "audio": (tone(), 16_000)}) == load_audio((tone(), 16_000))


def test_a_video_may_be_sampled_at_its_own_rate_within_the_limits() -> None:
    def frames(**options: Any) -> int:
        return len(load_media({"type": "video", "video": FILM, **options}, limits=Limits(max_frames=20)).encoded)

    assert [frames(), frames(fps=1.0), frames(fps=5), frames(fps=10)] == [8, 4, 20, 20]
    assert [frames(max_frames=6), frames(max_frames=1000, fps=10), frames(min_frames=9), frames(max_frames=2)] == [
        6,
        20,
        9,
        2,
    ]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("a.png", r"a media part must be a mapping with a type, not a\.png"),
        ({"image": PICTURE}, "type must be one of image, image_url, .*, not None"),
        ({"type": "text", "text": "a"}, "type must be one of .*, not text"),
        ({"type": "image"}, r'a part of type image must hold its source: {"type": "image", "image": \.\.\.}'),
        ({"type": "image", "image": None}, "must hold its source"),
        ({"type": "video", "video": FILM, "nframes": 4}, "a part's nframes are not read: remove them"),
        ({"type": "video", "video": FILM, "fps": 0}, r"a video part's fps must be a number from 0\.001 to 1e6, not 0"),
        ({"type": "video", "video": FILM, "fps": "2"}, 'fps must be a number .*, not "2"'),
        ({"type": "video", "video": FILM, "max_frames": 0}, "max_frames must be a number from 1 to 1e6, not 0"),
        ({"type": "input_audio", "input_audio": {"data": "%%%"}}, "audio %%% is not base64"),
        (
            {"type": "image", "image": SOUND},
            "image of .* bytes cannot be decoded as BMP, .*: it begins like none of them",
        ),
        ({"type": "video", "video": "https://a.org/b.mp4"}, "URLs are not fetched"),
        ({"type": "image", "image": Image.new("RGB", (0, 0))}, "image of mode RGB has no pixels: leave it out"),
    ],
)
def test_a_part_that_cannot_be_read_is_an_error_that_says_what_to_do(part: Any, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        load_media(part)


@pytest.mark.parametrize("escaping", [MemoryError(), RecursionError("too deep"), KeyError("a"), OSError(5, "broken")])
def test_whatever_a_decoder_raises_becomes_a_media_error(escaping: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise escaping

    for decoder in ("PIL.Image.open", "av.open", "soundfile.SoundFile"):
        monkeypatch.setattr(decoder, fail)
    for modality, text in BASE64.items():
        with pytest.raises(MediaError, match=f"^{modality} .*cannot be decoded.*: .*; mend it or leave it out"):
            load_media({"type": modality, "base64": text})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"fps": 0}, "limit fps = 0: give a number above 0"),
        ({"max_bytes": float("inf")}, "limit max_bytes = inf"),
        ({"frame_pixels": float("nan")}, "limit frame_pixels = nan"),
        ({"min_frames": 9, "max_frames": 8}, "min_frames = 9 is more than max_frames = 8"),
        ({"max_aspect": 0.5}, r"max_aspect = 0\.5 refuses everything"),
    ],
)
def test_limits_that_accept_nothing_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**limits)


def test_text_that_is_base64_of_no_medium_is_a_path() -> None:
    with pytest.raises(MediaError, match="there is no file"):
        load_image("pictures/" + "a" * 71)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_files_and_texts_are_measured_before_they_are_read(modality: str, tmp_path: Path) -> None:
    limits = Limits(max_bytes=100)
    (tmp_path / "a.bin").write_bytes(bytes(101))
    with pytest.raises(MediaError, match=rf"{modality} a\.bin is 101 bytes large, more than 100"):
        load_media({"type": modality, "path": "a.bin"}, root=tmp_path, limits=limits)
    with pytest.raises(MediaError, match="is 300 bytes large, more than 100"):
        load_media({"type": modality, "base64": "*" * 400}, limits=limits)

"""Videos as data: which frames are sampled, from every container, within the limits."""

from __future__ import annotations

import pickle
import re
import struct
import tracemalloc
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lightrft_multimodal import Limits, MediaError, VideoRecord, load_video
from lightrft_multimodal.media import frames as decoding

from .made import film, numbers, shade

FORMS = [
    *[("mp4", "libx264"), ("mp4", "mpeg4"), ("mov", "mjpeg"), ("matroska", "libx264"), ("webm", "libvpx-vp9")],
    *[("avi", "mpeg4"), ("gif", "gif"), ("mpegts", "mpeg2video"), ("flv", "flv1"), ("asf", "wmv2")],
]
FILM = film()
"""40 frames at 10 a second."""

LONG = film(frames=1200, size=(160, 120), key_frame_every=50)


def load(source: Any, root: Path | None = None, **limits: Any) -> VideoRecord:
    return load_video(source, root=root, limits=Limits(**limits))


@pytest.mark.parametrize(("form", "codec"), FORMS)
def test_the_same_frames_are_sampled_from_every_container(form: str, codec: str) -> None:
    record = load(film(form, codec), fps=2.5)
    assert numbers(record.frames()) == list(range(0, 40, 4))
    assert record.fps == pytest.approx(2.5, rel=2e-2)
    assert record.timestamps == pytest.approx([0.4 * k for k in range(10)], abs=2e-3)
    assert record.frames().shape == (10, 24, 32, 3)


def test_a_record_is_known_by_its_frames_and_times_and_travels_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(FILM)
    record = load(FILM)
    assert record.modality == "video"
    for same in ("a.mp4", {"bytes": None, "path": "a.mp4"}, {"bytes": FILM, "path": None}):
        assert load(same, tmp_path) == record
    again = pickle.loads(pickle.dumps(record))
    assert again == record
    assert np.array_equal(again.frames(), record.frames())
    others = [load(FILM, fps=1.0), load(FILM, frame_pixels=100), load(film(rate=20), fps=4.0), load(film(frames=39))]
    assert len({record.sha256, *(other.sha256 for other in others)}) == 5
    assert len(pickle.dumps(record)) < record.frames().nbytes / 4


def at_times(*seconds: int) -> bytes:
    """A film of grey frames shown at these whole seconds."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream: Any = container.add_stream("mpeg4", rate=1, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for second in seconds:
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 99, np.uint8), format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_what_is_shown_at_other_times_at_another_rate_or_in_another_shape_is_another_video() -> None:
    early, late = load(at_times(0, 1, 9)), load(at_times(0, 8, 9))
    assert (early.timestamps, late.timestamps) == ((0, 1, 9), (0, 8, 9))
    assert early.fps == late.fps
    assert early.sha256 != late.sha256
    flat = np.zeros((1, 1, 4, 3), np.uint8)
    records = [load(flat), load(flat, fps=4.0), load(flat.reshape(1, 4, 1, 3))]
    assert len({record.sha256 for record in records}) == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sampled_from([0.1, 0.7, 1.0, 3.0, 30.0]), st.integers(1, 9), st.integers(9, 70))
def test_sampling_is_even_and_within_its_limits(count: int, fps: float, least: int, most: int) -> None:
    frames = np.stack([np.full((2, 2, 3), number, np.uint8) for number in range(count)])
    record = load_video(frames, limits=Limits(fps=fps, min_frames=least, max_frames=most))
    taken = record.frames()[:, 0, 0, 0].tolist()
    assert len(taken) == min(count, most)
    assert taken[0] == 0
    steps = np.diff([*taken, count])
    assert steps.max() - steps.min() <= 1
    assert record.timestamps == pytest.approx([number / fps for number in taken], abs=1e-6)
    assert record.fps == pytest.approx(len(taken) / (count / fps))


def test_long_videos_are_sampled_more_coarsely_and_short_ones_more_finely() -> None:
    assert numbers(load(FILM, fps=2.0, max_frames=5).frames()) == [0, 8, 16, 24, 32]
    assert load(FILM, fps=2.0, max_frames=5).fps == pytest.approx(1.25)
    assert numbers(load(FILM, fps=0.1, min_frames=4).frames()) == [0, 10, 20, 30]
    assert numbers(load(film(frames=3), fps=0.1, min_frames=4).frames()) == [0, 1, 2]
    assert len(load(film(frames=1)).timestamps) == 1


def test_a_video_of_a_thousand_frames_is_read_frame_by_frame() -> None:
    tracemalloc.start()
    try:
        record = load(LONG, max_frames=4, frame_pixels=10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert numbers(record.frames()) == [0, 20, 0, 20]
    assert peak < 30 * 160 * 120 * 3


def test_groups_of_pictures_without_a_wanted_frame_are_not_decoded() -> None:
    """Of 1200 frames in groups of 50, four wanted ones that begin a group cost little more than four groups."""
    decoded = []

    class Spy:
        def __init__(self, packet: Any) -> None:
            self.packet = packet

        def __getattr__(self, name: str) -> Any:
            return getattr(self.packet, name)

        def decode(self) -> Any:
            decoded.append(self.packet.size)
            return self.packet.decode()

    class Container:
        def __init__(self, opened: Any) -> None:
            self.demux = lambda stream: map(Spy, opened.demux(stream))

    limits = Limits()
    with decoding.container(BytesIO(LONG), limits) as opened:
        every = decoding.moments(opened, decoding.video_stream(opened, "it", limits), "it", limits)
    with decoding.container(BytesIO(LONG), limits) as opened:
        stream = decoding.video_stream(opened, "it", limits)
        wanted = [every[place] for place in (0, 310, 620, 930)]
        found = [at for at, _ in decoding.decoded(Container(opened), stream, wanted)]  # type: ignore[arg-type]
    assert found == [moment.at for moment in wanted]
    assert 4 <= len(decoded) < 200


def frames_at(content: bytes, places: list[int]) -> list[tuple[int, bytes]]:
    """Times and pixels of the frames with these numbers; every other group of pictures is passed over."""
    limits = Limits()
    with decoding.container(BytesIO(content), limits) as opened:
        every = decoding.moments(opened, decoding.video_stream(opened, "it", limits), "it", limits)
    with decoding.container(BytesIO(content), limits) as opened:
        found = decoding.decoded(
            opened, decoding.video_stream(opened, "it", limits), [every[place] for place in places]
        )
        return [(at, image.tobytes()) for at, image in found]


OPEN_GROUPS = film("mpegts", "mpeg2video", bf="2")


@pytest.mark.parametrize("content", [*(film(*form) for form in FORMS), OPEN_GROUPS])
def test_frames_are_the_same_whatever_is_passed_over(content: bytes) -> None:
    """Also those that are shown before their group's key frame and need the group before it."""
    whole = frames_at(content, list(range(40)))
    assert len(whole) == 40
    for places in [[place] for place in range(1, 40)] + [[0, 39], [11, 12, 13], [1, 14, 27, 28]]:
        assert frames_at(content, places) == [whole[place] for place in places]


def test_frames_are_scaled_down_in_proportion() -> None:
    small = load(film(size=(320, 240)), frame_pixels=1200)
    assert (small.width, small.height) == (40, 30)
    assert small.frames().shape[1:] == (30, 40, 3)
    assert (load(FILM).width, load(FILM).height) == (32, 24)


@pytest.mark.parametrize("clockwise", [True, False])
def test_a_film_held_sideways_is_turned_upright(clockwise: bool) -> None:
    """The display matrix in the track's header is overwritten with one that turns by a quarter."""
    one, unit, minus = struct.pack(">i", 1 << 16), struct.pack(">i", 1 << 30), struct.pack(">i", -(1 << 16))
    straight = b"".join([one, bytes(12), one, bytes(12), unit])
    right, left = (one, minus) if clockwise else (minus, one)
    turned = b"".join([bytes(4), right, bytes(4), left, bytes(16), unit])
    white_on_the_left = film(white=16)
    place = white_on_the_left.index(straight, white_on_the_left.index(b"tkhd"))
    record = load(white_on_the_left[:place] + turned + white_on_the_left[place + len(straight) :])
    assert (record.width, record.height) == (24, 32)
    top, bottom = record.frames()[0, 4:12], record.frames()[0, 20:28]
    assert (top if clockwise else bottom).min() > 200
    assert (bottom if clockwise else top).max() < 50


def test_frames_come_from_any_source_of_images(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (shade(1),) * 3).save(tmp_path / "1.png")
    pixels = np.full((4, 4, 3), shade(2), np.uint8)
    record = load(["1.png", pixels, Image.new("L", (4, 4), shade(3))], tmp_path, fps=5.0)
    assert numbers(record.frames()) == [1, 2, 3]
    assert record.timestamps == (0.0, 0.2, 0.4)
    assert load(["1.png"] * 1000 + ["gone.png"], tmp_path, max_frames=8).fps == pytest.approx(2 * 8 / 1001)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.mp4", r"video gone\.mp4: there is no file .*gone\.mp4"),
        ("../a.mp4", "lies outside of"),
        ("https://example.org/a.mp4?key=secret", r"video https://example\.org/a\.mp4: URLs are not fetched"),
        ("data:image/png;base64,eA==", "must begin with data:video/<format>;base64,"),
        (b"", "video of 0 bytes cannot be decoded"),
        (FILM[: len(FILM) // 2], "cannot be decoded"),
        (film("matroska")[:60], "video of 60 bytes cannot be decoded|holds no"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "cannot be decoded"),
        (film("nut", "mpeg4"), "cannot be decoded: it is of none of the formats asf, avi, .*; mend it or leave it out"),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "cannot be decoded"),
        ([], "holds no frame: leave it out"),
        ([b"x"], r"frame 0 of video of type list: image of 1 bytes cannot be decoded"),
        ([[[]]], "frame 0 of video of type list: image of type list is neither"),
        ([Image.new("L", (4, 4)), Image.new("L", (4, 5))], "changes from 4 x 4 to 4 x 5 pixels"),
        (np.zeros((2, 4, 4, 3)), "its pixels are float64; give uint8"),
        (np.zeros(3, np.uint8), r"frame 0 of video of shape \[3\]: image of type uint8 is neither"),
        ([Image.new("L", (2000, 4))], "one side more than 200 times the other"),
        (7, "video 7 is neither a path, bytes, a data URL nor a list of frames"),
        (None, "video None is neither"),
    ],
)
def test_what_is_no_video_is_an_error_that_names_it(source: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        load(source, tmp_path)


def test_limits_of_length_size_and_bytes_are_kept() -> None:
    with pytest.raises(MediaError, match=r"is longer than 3 seconds.*: cut it or raise the limit"):
        load(FILM, max_video_seconds=3)
    assert len(load(FILM, max_video_seconds=4).timestamps) == 8
    with pytest.raises(MediaError, match="or has more than 240 frames a second"):
        load(film("matroska", rate=1000, frames=300), max_video_seconds=1)
    with pytest.raises(MediaError, match="has 32 x 24 pixels, more than 700: scale it down"):
        load(FILM, max_pixels=700)
    with pytest.raises(MediaError, match=f"is {len(FILM)} bytes large, more than 1000"):
        load(FILM, max_bytes=1000)


def test_a_song_with_a_cover_is_no_video() -> None:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")
        container.mux([*cover.encode(picture), *cover.encode()])
    with pytest.raises(MediaError, match="holds no moving picture: give a file that does"):
        load(buffer.getvalue())


def test_a_damaged_frame_is_refused_with_its_time() -> None:
    whole, said = film("avi", "mpeg4", white=16), ""
    for place in range(len(whole) // 2, len(whole) * 3 // 4, 50):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        try:
            load(bytes(damaged), fps=10.0)
        except MediaError as error:
            said += f"{error}\n"
    assert re.search(
        r"cannot be decoded: the frame \d\.\d{3} seconds into it is damaged; mend it or leave it out", said
    )


def test_a_frame_that_a_decoder_leaves_out_in_silence_is_missed() -> None:
    """Matroska announces no number of frames."""
    whole, said = film("matroska", "libx264"), ""
    for place in range(len(whole) // 3, len(whole) - 20, 97):
        damaged = whole[:place] + bytes(20) + whole[place + 20 :]
        try:
            assert len(load(damaged, fps=10.0).timestamps) == 40
        except MediaError as error:
            said += f"{error}\n"
    assert re.search(r"can be decoded to \d+ of the 40 frames sampled from it: mend it or leave it out", said)


@pytest.mark.parametrize("cut", [0.6, 0.9])
def test_a_file_that_ends_early_is_refused(cut: float) -> None:
    whole = film("avi", "mpeg4")
    with pytest.raises(MediaError, match=r"ends after|cannot be decoded"):
        load(whole[: int(cut * 0.9 * len(whole))])


@pytest.mark.parametrize(("form", "codec"), [("matroska", "mpeg4"), ("webm", "libvpx"), ("flv", "flv1")])
def test_a_file_that_ends_early_is_refused_where_it_tells_only_its_length(form: str, codec: str) -> None:
    whole = film(form, codec)
    for frames in (1, 2, 3):
        assert len(load(film(form, codec, frames=frames)).timestamps) == frames
    assert numbers(load(whole[: -len(whole) // 12], fps=2.5).frames())[:9] == list(range(0, 36, 4))
    with pytest.raises(MediaError, match=r"ends after \d\.\d\d of its [34]\.\d\d seconds: give the whole file"):
        load(whole[: len(whole) // 2])

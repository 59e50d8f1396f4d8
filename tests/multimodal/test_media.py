"""Images as data: every source gives the same record, and what cannot be an image is a MediaError."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lightrft_multimodal import ImageRecord, Limits, MediaError, load_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def red_beside_blue() -> Image.Image:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    return image


def load(source: Any, *, root: Path | None = None, max_pixels: int = 10_000) -> ImageRecord:
    return load_image(source, root=root, limits=Limits(max_pixels=max_pixels))


PICTURE = encode(red_beside_blue())


def test_every_source_of_the_same_picture_gives_the_same_record(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    sources = [
        PICTURE,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        "data:image/png;base64," + b64encode(PICTURE).decode(),
        red_beside_blue(),
        {"bytes": PICTURE, "path": "elsewhere.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        encode(red_beside_blue(), "BMP"),
        encode(red_beside_blue(), "WEBP", lossless=True),
    ]
    records = [load(source) for source in sources]
    assert len(set(records)) == 1
    assert (records[0].width, records[0].height) == (2, 1)
    for record in records:
        assert record.image().mode == "RGB"
        assert [record.image().getpixel((x, 0)) for x in (0, 1)] == [RED, BLUE]


def test_other_pixels_or_another_shape_make_another_record() -> None:
    flat, tall = Image.new("RGB", (4, 1)), Image.new("RGB", (1, 4))
    other = flat.copy()
    other.putpixel((3, 0), (0, 0, 1))
    assert len({load(image).sha256 for image in (flat, tall, other)}) == 3


def test_images_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    record = load(encode(red_beside_blue(), exif=exif))
    assert (record.width, record.height) == (1, 2)
    assert [record.image().getpixel((0, y)) for y in (0, 1)] == [RED, BLUE]


def test_colours_of_other_modes_become_rgb() -> None:
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    palette = Image.new("P", (1, 1))
    palette.putpalette([*RED])
    deep = Image.new("I;16", (1, 1), 200 * 256)
    pictures = {"clear": clear, "palette": palette, "deep": deep, "grey": Image.new("L", (1, 1), 7)}
    colours = {name: load(encode(picture)).image().getpixel((0, 0)) for name, picture in pictures.items()}
    assert colours == {"clear": WHITE, "palette": RED, "deep": (200, 200, 200), "grey": (7, 7, 7)}


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (1, 1), colour) for colour in (RED, BLUE)]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load(animation).image().getpixel((0, 0)) == RED


def test_the_pixel_count_is_checked_before_decoding() -> None:
    assert load(Image.new("RGB", (100, 100)), max_pixels=10_000).width == 100
    header_alone = png_header(9_000, 8_000)
    with pytest.raises(MediaError, match="has 9000 x 8000 pixels, more than 10000: scale it down"):
        load(header_alone)
    with pytest.raises(MediaError, match="exceeds limit"):
        load(png_header(200_000, 200_000), max_pixels=10**12)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    tail = (
        struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + tail


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://example.org/a.png", "image https://example.org/a.png: URLs are not fetched"),
        ("ftp://example.org/a.png", "URLs are not fetched"),
        ("data:text/plain;base64,eA==", "must begin with data:image/<format>;base64,"),
        ("data:image/png,raw", "must begin with data:image/<format>;base64,"),
        ("data:image/png;base64,e*==", "is not base64"),
        ("gone.png", r"image gone\.png: there is no file gone\.png"),
        ("x" * 5000, r"image x{60}\.\.\. \(5000 characters\) cannot be read: File name too long"),
        (b"", "image of 0 bytes cannot be decoded as BMP, GIF, JPEG, PNG, WEBP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "cannot be decoded"),
        (PICTURE[:45], "image of .* bytes cannot be decoded .*: "),
        ({"bytes": None, "path": None}, "is neither a path, bytes, a data URL nor an image"),
        (7, "image 7 is neither"),
        (Image.new("F", (1, 1)), "image of mode F cannot be decoded .* not colours"),
    ],
)
def test_what_is_no_image_is_an_error_that_names_it(source: Any, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        load(source)


def test_paths_stay_below_their_root(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "pictures").mkdir(parents=True)
    for path in (root / "pictures" / "a.png", tmp_path / "b.png"):
        path.write_bytes(PICTURE)
    assert load("pictures/../pictures/a.png", root=root) == load(root / "pictures" / "a.png", root=root)
    for outside in ("../b.png", str(tmp_path / "b.png"), "pictures/../../b.png", f"../{root.name}-other/a.png"):
        with pytest.raises(MediaError, match="lies outside of"):
            load(outside, root=root)


JPEG = encode(Image.effect_noise((16, 12), 80), "JPEG")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([PICTURE, JPEG, encode(red_beside_blue(), "GIF"), encode(red_beside_blue(), "WEBP")]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    st.integers(0, 10_000),
)
def test_damage_is_a_media_error_or_harmless(picture: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(picture)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        record = load(bytes(damaged[: len(damaged) - cut % (2 * len(damaged)) if cut % 2 else None]))
    except MediaError:
        return
    assert record.image().size == (record.width, record.height)

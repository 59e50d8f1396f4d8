"""Media parts as no one should write them: damaged files, absurd headers, wrong types, wrong parts; by seed."""

from __future__ import annotations

import os
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from .made import film, picture, song, sound_file, tone


@cache
def sound_ones() -> dict[str, list[bytes]]:
    """Files with nothing wrong, by what they are a medium of."""
    films = [("mp4", "libx264"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4"), ("gif", "gif")]
    films += [("mpegts", "mpeg2video"), ("flv", "flv1"), ("asf", "wmv2"), ("mov", "mjpeg")]
    sounds = [
        ("WAV", {}),
        ("WAV", {"subtype": "FLOAT"}),
        ("FLAC", {}),
        ("OGG", {}),
        ("MP3", {}),
        ("AIFF", {}),
        ("AU", {}),
    ]
    return {
        "image": [picture(form) for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP")],
        "video": [film(form, codec, frames=12, key_frame_every=5) for form, codec in films],
        "audio": [sound_file(tone(0.2), 16_000, form, **options) for form, options in sounds]
        + [song("mp4", "aac", tone(0.2, 44_100), 44_100)],
    }


def malformed(seed: int, folder: Path) -> tuple[str, Any]:
    """What is wrong, and the part. folder: where files are laid, as its name says, for parts that hold paths."""
    random = Random(seed)
    make = random.choice(
        [_damaged, _damaged, _damaged, _absurd, _absurd, _of_other_type, _numbers, _text, _path, _part]
    )
    return make.__name__[1:], make(random, folder)


def _damaged(random: Random, folder: Path) -> Any:
    modality = random.choice(["image", "video", "audio"])
    content = bytearray(random.choice(sound_ones()[modality]))
    for _ in range(random.randint(1, 3)):
        place, length = random.randrange(len(content) or 1), random.choice([1, 4, 16, 200])
        match random.randrange(8):
            case 0:
                del content[place:]
            case 1:
                content[place : place + length] = random.randbytes(length)
            case 2:
                for _ in range(random.randint(1, 40)):
                    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
            case 3:
                del content[place : place + length]
            case 4:
                content[place:place] = random.randbytes(length)
            case 5:
                content[place : place + 4] = random.choice(
                    [b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\x80" + bytes(3)]
                )
            case 6:
                content[:16] = random.choice(random.choice(list(sound_ones().values())))[:16]
            case _:
                content += random.choice(random.choice(list(sound_ones().values())))[place:]
        if not content:
            break
    return _held(
        random, random.choice([modality, modality, modality, "image", "video", "audio"]), bytes(content), folder
    )


def _held(random: Random, modality: str, content: bytes, folder: Path) -> dict[str, Any]:
    """A part that holds these bytes in one of the ways there are."""
    text = b64encode(content).decode()
    file = folder / f"{zlib.crc32(content)}.bin"
    match random.randrange(6):
        case 0:
            file.write_bytes(content)
            return {"type": modality, modality: file.name}
        case 1:
            return {"type": modality, modality: {"bytes": content, "path": None}}
        case 2:
            return {"type": f"{modality}_url", f"{modality}_url": {"url": f"data:{modality}/x;base64,{text}"}}
        case 3:
            return {"type": modality, "base64": text}
        case 4 if modality == "audio":
            return {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}
        case _:
            return {"type": modality, modality: content}


_BOXES = (b"mvhd", b"mdhd", b"tkhd", b"stsz", b"stts", b"stsc", b"stco", b"avc1", b"moov", b"elst", b"ctts")


def _absurd(random: Random, folder: Path) -> Any:
    """Headers that promise more than anyone has, and little that becomes much."""
    huge = random.choice([0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1])
    made: list[tuple[str, Callable[[], bytes]]] = [
        ("image", lambda: _png_header(huge % 2**31, random.choice([1, 5000, 2**31 - 1]))),
        ("image", lambda: _shrunk(random.choice([(6000, 5000), (20_000, 20_000), (30_000, 1), (1, 9_000)]))),
        ("image", _wordy),
        ("image", lambda: _patched("image", 1, b"\xff\xc0", 5, struct.pack(">HH", huge % 2**16, 2**16 - 1))),
        ("image", lambda: _patched("image", 2, b"GIF8", 6, struct.pack("<HH", huge % 2**16, 2**16 - 1))),
        ("image", lambda: _patched("image", 3, b"BM", 18, struct.pack("<II", huge, random.choice([1, 2**31 - 1])))),
        ("image", lambda: _patched("image", 4, b"VP8", random.choice([4, 8, 12, 14]), struct.pack("<I", huge))),
        ("audio", lambda: _wave(channels=huge % 2**16, rate=16_000)),
        ("audio", lambda: _wave(channels=1, rate=huge)),
        ("audio", lambda: _wave(channels=1, rate=16_000, bits=huge % 2**16)),
        ("audio", lambda: _wave(channels=1, rate=16_000, length=huge)),
        ("audio", lambda: _patched("audio", 2, b"fLaC", 18, struct.pack(">QI", 2**64 - 1 - huge, huge))),
        ("audio", lambda: sound_file(np.zeros(random.choice([10**6, 6 * 10**6]), np.int16), 1_000, "FLAC")),
        *[
            (
                "video",
                lambda: _patched("video", 0, random.choice(_BOXES), 4 * random.randint(1, 5), struct.pack(">I", huge)),
            )
        ]
        * 8,
        ("video", lambda: _patched("video", 1, b"\x2a\xd7\xb1", 3, struct.pack(">BI", 0x84, huge))),
        ("video", lambda: _patched("video", 3, b"avih", random.choice([8, 24, 40, 44]), struct.pack("<I", huge))),
        ("video", lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///dev/zero\n#EXT-X-ENDLIST\n"),
        ("video", lambda: b"RIFF" + struct.pack("<I", huge) + b"AVI " + bytes(64)),
    ]
    modality, content = random.choice(made)
    return _held(random, modality, content(), folder)


def _png_header(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _shrunk(size: tuple[int, int]) -> bytes:
    """A picture of one colour, a thousandth of what it becomes."""
    return _png_header(*size, zlib.compress(bytes((size[0] + 1) * size[1]), 1))


def _wordy() -> bytes:
    buffer, notes = BytesIO(), PngImagePlugin.PngInfo()
    notes.add_text("Comment", "\0" * 2**26, zip=True)
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def _patched(modality: str, which: int, mark: bytes, offset: int, value: bytes) -> bytes:
    content = bytearray(sound_ones()[modality][which])
    place = max(0, content.find(mark)) + offset
    content[place : place + len(value)] = value
    return bytes(content)


def _wave(*, channels: int, rate: int, bits: int = 16, length: int = 2**31) -> bytes:
    body = struct.pack("<HHIIHH", 1, channels, rate, (rate * 2) % 2**32, (2 * channels) % 2**16, bits)
    head = b"RIFF" + struct.pack("<I", length) + b"WAVEfmt " + struct.pack("<I", len(body)) + body
    return head + b"data" + struct.pack("<I", length) + bytes(3200)


class Hostile:
    """An object that answers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise MemoryError

    __str__ = __repr__ = __bool__ = __iter__ = __len__  # type: ignore[assignment]


def _of_other_type(random: Random, folder: Path) -> Any:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    values: list[Any] = [
        *(None, True, 0, -1, 10**5000, 1.5, float("nan"), float("inf"), 1j, "", b"", [], (), {}, set(), deep),
        *(
            [None],
            [[]],
            [b""],
            ["a"] * 3,
            [0, 16_000],
            [[], 16_000],
            ["abc", 16_000],
            [[1, "2"], 16_000],
            [{}],
            {"a": deep},
        ),
        *(object(), object, len, Hostile(), [Hostile()], Ellipsis, range(10**12), bytearray(b"x"), memoryview(b"x")),
        *({"bytes": None, "path": None}, {"bytes": "text"}, {"bytes": [1]}, {"path": 7}, {"path": b"a.png"}, {1: 2}),
        *({"array": None, "sampling_rate": None}, {"array": deep, "sampling_rate": 16_000}, {"url": None}, {"data": 7}),
    ]
    modality = random.choice(["image", "video", "audio"])
    kind: str = random.choice([modality, modality, f"{modality}_url"]) if modality != "audio" else "input_audio"
    return {"type": kind, kind: random.choice(values)}


def _numbers(random: Random, folder: Path) -> Any:
    generator = np.random.default_rng(random.randrange(2**32))
    shape = random.choice(
        [(), (0,), (1,), (8000,), (0, 0), (2, 8000), (8000, 2), (4, 4, 3), (3, 4, 4, 3), (2, 0, 0, 3)]
    )
    form = random.choice(["u1", "i2", "u4", "i8", "f2", "f4", "f8", "c8", "b1", "O", "U3", "M8[s]"])
    with np.errstate(all="ignore"):
        array = generator.normal(size=shape).astype("f8").astype(form, casting="unsafe")
    if array.dtype.kind == "f" and array.size and random.random() < 0.5:
        array.reshape(-1)[random.randrange(array.size)] = random.choice([np.nan, np.inf, -np.inf, 6e4])
    rates: list[Any] = [
        16_000,
        0,
        -16_000,
        1,
        2**63,
        1.5,
        float("nan"),
        float("inf"),
        None,
        "16000",
        True,
        np.float32(8000),
        [],
        10**400,
    ]
    rate = random.choice(rates)
    return random.choice(
        [
            {"type": "image", "image": array},
            {"type": "video", "video": array},
            {"type": "video", "video": [array, array]},
            {"type": "audio", "audio": (array, rate)},
            {"type": "audio", "audio": {"array": array, "sampling_rate": rate, "path": None}},
            {"type": "audio", "audio": [array.tolist(), rate]},
            {"type": "audio", "audio": array},
        ]
    )


def _text(random: Random, folder: Path) -> Any:
    modality = random.choice(["image", "video", "audio"])
    texts = [
        *(
            "",
            " ",
            "\0",
            "a\0b",
            "\udc80",
            "\n",
            "x" * 10**6,
            "data:",
            "data:,",
            "data:image/png;base64",
            "://",
            "http://",
        ),
        *(
            f"data:{modality}/x;base64,",
            f"data:{modality}/x;base64,=",
            f"data:{modality}/x;base64,\udc80abc",
            "A" * 400,
        ),
        *("http://127.0.0.1:1/a.png", "https://user:key@host/a?b=c", "file:///etc/hostname", "s3://a/b", "hf://a"),
        *(
            "/9j/" + "A" * 400,
            "iVBORw0KGgo" + "A" * 401,
            "UklGR" + "/" * 395,
            "GkXf" + "o" * 96,
            "%d.png",
            "*.png",
            "-",
        ),
        *("concat:a.mp4|b.mp4", "pipe:0", "subfile,,start,0,end,9,,:a.mp4", "tcp:127.0.0.1:80", "lavfi:testsrc"),
    ]
    return {"type": modality, random.choice([modality, "url", "path", "base64"]): random.choice(texts)}


def _path(random: Random, folder: Path) -> Any:
    circle, pipe = folder / "circle.png", folder / "pipe.png"
    if not circle.is_symlink():
        circle.symlink_to(circle)
    if not pipe.exists():
        os.mkfifo(pipe)
    names = [".", "..", "/", "~", "gone.png", "../gone.png", "circle.png", "pipe.png", "/dev/zero", "/dev/stdin"]
    names += ["/proc/self/mem", "/proc/kmsg", "a/" * 3000, "gone.png/gone.png", str(folder)]
    modality = random.choice(["image", "video", "audio"])
    name = random.choice(names)
    return {
        "type": modality,
        modality: random.choice([name, Path(name), {"path": name}, {"bytes": None, "path": name}]),
    }


def _part(random: Random, folder: Path) -> Any:
    clip = random.choice(sound_ones()["video"])
    numbers = [0, -1, float("nan"), float("inf"), "2", 1e308, 1e-308, 10**400, True, [], {}, 1, 2.5]
    return random.choice(
        [
            *(None, 7, "image", b"image", [], {}, ["type", "image"], Hostile(), {"type": "image"}, {"image": clip}),
            *(
                {"type": kind, "image": clip}
                for kind in (None, 7, [], {}, "Image", "text", "\udc80", "x" * 10**5, Hostile())
            ),
            *({"type": "video", "video": clip, "fps": random.choice(numbers)} for _ in range(6)),
            *({"type": "video", "video": clip, "max_frames": random.choice(numbers)} for _ in range(3)),
            *({"type": "video", "video": clip, "min_frames": random.choice(numbers)} for _ in range(3)),
            {"type": "video", "video": clip, "nframes": 4},
            {"type": "image", "image": clip, "max_pixels": 100},
            {"type": "image", "image": None, "url": None},
            {"type": "image_url", "image_url": {"url": {"url": "a.png"}}},
            {"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}},
            {"type": "input_audio", "input_audio": clip},
            {1: 2, "type": "image", "image": clip},
        ]
    )

"""Rows of prompt data as no one should write them, by seed: good ones of every form, with a few things done to them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from .made import film, picture, sound_file, tone
from .malformed import malformed

FORMS = ("own", "avqa", "geo3k", "gsm8k", "muchomusic")


@cache
def files() -> dict[str, bytes]:
    """A medium of each modality, by file name."""
    return {"image.png": picture(), "video.mp4": film(frames=8), "audio.wav": sound_file(tone(0.3), 16_000)}


def good(form: str, random: Random) -> dict[str, Any]:
    """A row with nothing wrong. Paths are those of files(), beside the data."""
    choices = ["a dog", "a cat", "a bird"]
    match form:
        case "avqa":
            return {"audio_path": "audio.wav", "question_text": "Who?", "multi_choice": choices, "answer": 1}
        case "geo3k":
            figure = random.choice(["image.png", {"bytes": files()["image.png"], "path": None}])
            return {"images": [figure], "problem": "<image>x?", "answer": "3"}
        case "gsm8k":
            return {"question": "3 and 4?", "answer": "3 + 4 = 7\n#### 7"}
        case "muchomusic":
            return {"audio_path": "audio.wav", "question": "Which?", "choices": choices, "answer": "a cat"}
    url = f"data:image/png;base64,{b64encode(files()['image.png']).decode()}"
    data = b64encode(files()["audio.wav"]).decode()
    rows: list[dict[str, Any]] = [
        {"input": "3 + 4 = ?"},
        {"input": "What is it?", "images": ["image.png"]},
        {"input": "<image> or <image>?", "images": ["image.png", url]},
        {"input": "Hear.", "audios": "audio.wav", "route": "number"},
        {"input": "<video>And <audio>?", "videos": ["video.mp4"], "audios": ["audio.wav"]},
        {"input": _chat({"type": "image", "image": url}, {"type": "text", "text": "?"})},
        {"input": _chat({"type": "image_url", "image_url": {"url": url}}, {"type": "video", "video": "video.mp4"})},
        {"input": _chat({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})},
        {"input": _chat({"type": "image"}, {"type": "text", "text": "?"}), "images": [{"bytes": files()["image.png"]}]},
        {"input": [*_chat({"type": "text", "text": "a"}), {"role": "assistant", "content": "b"}, *_chat()]},
    ]
    return {**random.choice(rows), "label": random.choice([7, "B", {"a": [1]}])}


def _chat(*parts: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts) or "and <image>?"}]


def spoilt(form: str, random: Random, folder: Path) -> dict[str, Any]:
    """A good row with one to three things done to it."""
    row = deepcopy(good(form, random))
    for _ in range(random.randint(1, 3)):
        places = list(_places(row))
        holder, key = random.choice(places) if places else (row, "input")
        random.choice([_gone, _other, _text, _text, _medium, _doubled, _wrapped])(random, holder, key, folder)
    return row


def _places(value: Any, depth: int = 8) -> Iterator[tuple[Any, Any]]:
    """Every (mapping, key) and (list, index) within a value, down to a depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item, depth - 1) if depth else ()


def _gone(random: Random, holder: Any, key: Any, folder: Path) -> None:
    del holder[key]


def _other(random: Random, holder: Any, key: Any, folder: Path) -> None:
    values: list[Callable[[], Any]] = [
        *(lambda: None, lambda: "", lambda: " ", list, dict, lambda: 0, lambda: -1, lambda: True, lambda: 2**70),
        *(lambda: 1.5, lambda: float("nan"), lambda: float("inf"), lambda: [None], lambda: [[]], lambda: [{}]),
        *(lambda: "\ud800", lambda: "\0", lambda: b"\xff\xfe", lambda: {"type": "image"}, lambda: "image"),
        *(lambda: "assistant", lambda: "text", lambda: ["image.png"] * 9, lambda: {"bytes": None, "path": None}),
        *(lambda: {"url": 7}, lambda: {"data": 7}, lambda: _deep(200), lambda: "x" * 40_000),
    ]
    holder[key] = random.choice(values)()


def _text(random: Random, holder: Any, key: Any, folder: Path) -> None:
    marks = ["<image>", "<video>", "<audio>", "<|IMAGE|>", "<|AUDIO|>", "<|vision_bos|>", "<|im_end|>", "{}", "{{ x }}"]
    mark = random.choice([*marks, "\ud83d", "\u202e", "</answer>", "####"])
    if isinstance(holder[key], str):
        place = random.randrange(len(holder[key]) + 1)
        holder[key] = holder[key][:place] + mark + holder[key][place:]
    else:
        holder[key] = mark


def _medium(random: Random, holder: Any, key: Any, folder: Path) -> None:
    """A malformed medium, as a whole part or as the source alone."""
    part = malformed(random.randrange(10**6), folder)[1]
    sources = [value for name, value in part.items() if name != "type"] if isinstance(part, dict) else []
    holder[key] = random.choice([part, *sources])


def _doubled(random: Random, holder: Any, key: Any, folder: Path) -> None:
    if isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[random.choice(["images", "videos", "audios", "type", "url", "content", "role"])] = holder[key]


def _wrapped(random: Random, holder: Any, key: Any, folder: Path) -> None:
    holder[key] = random.choice([[holder[key]], {"url": holder[key]}, {"type": "text", "text": holder[key]}])


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def line(row: dict[str, Any], random: Random) -> bytes:
    """The row as a line of JSONL, now and then damaged as a line, too."""
    try:
        text = json.dumps(row, default=_as_text).encode()
    except (TypeError, ValueError, RecursionError):  # what Python's own JSON cannot write: it is not to read it either
        text = random.choice([b'{"input": %s}' % (b"9" * 5000), b'{"input": %s' % (b"[" * 50_000)])
    if random.random() < 0.1:
        place = random.randrange(len(text))
        damage = [text[:place], text[:place] + random.randbytes(8) + text[place:], b"[" * 5000, text + b","]
        text = random.choice(damage)
    return text.replace(b"\n", b" ").replace(b"\r", b" ") or b"?"


def _as_text(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else type(value).__name__


def in_parquet(row: dict[str, Any], path: Path) -> bool:
    """Write the row as a file of its own, if Arrow has a form for it: without columns it has none, and at a nesting
    without end it crashes.
    """
    if not row or len(list(_places(row, 99))) > len(list(_places(row, 40))):
        return False
    try:
        parquet.write_table(pa.Table.from_pylist([row]), path)
        parquet.ParquetFile(path).close()
    except (
        pa.ArrowException,
        TypeError,
        ValueError,
        OSError,
        OverflowError,
        RuntimeError,
        MemoryError,
        RecursionError,
    ):
        path.unlink(missing_ok=True)
        return False
    return True

"""The pictures, videos and sounds that a page carries."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TYPES = {".png": "image/png", ".webp": "image/webp", ".mp4": "video/mp4", ".wav": "audio/wav"}
"""By suffix; a page shows no others."""

LARGEST = 48 * 2**20
"""Bytes of all media that a page carries."""

_HASH = re.compile(r"[0-9a-f]{16,128}")


@dataclass
class Media:
    """types: by hash. files: base64 by hash. left_out: how many did not fit."""

    types: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])
    left_out: int = 0


def carried(folders: Sequence[Path], wanted: Iterable[str]) -> Media:
    """The media with these hashes that runs kept in these folders, as many as a page carries."""
    found, size = Media(), 0
    kept = {path.stem: path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    for sha in wanted:
        path = kept.get(sha)
        if path is None or path.suffix not in TYPES or not _HASH.fullmatch(sha):
            continue
        content = path.read_bytes()
        if size + len(content) > LARGEST:
            found.left_out += 1
            continue
        size += len(content)
        found.types[sha], found.files[sha] = TYPES[path.suffix], b64encode(content).decode("ascii")
    return found

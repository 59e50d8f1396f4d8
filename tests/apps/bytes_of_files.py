"""Files below a folder: what is in them, one that is damaged, and how often each is read for its checksum."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lightrft_strategy import manifest


def everything(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path) -> Path:
    """Change one bit, near the end, where weights are."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    return path


def checksums_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of the folder is read for its checksum from now on."""
    read, seal_of = Counter[str](), manifest.seal_of

    def counted(path: Path) -> manifest.Seal:
        read[path.relative_to(folder).as_posix()] += 1
        return seal_of(path)

    monkeypatch.setattr(manifest, "seal_of", counted)
    return read

"""The list of what must lie in a folder: every file's size and checksum, and a checksum of the list itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypedDict

from lightrft_strategy.together import together

if TYPE_CHECKING:
    from lightrft_core import Ranks

MANIFEST = "manifest.json"
VERSION = 1
"""Of the format of checkpoints. A reader takes its own and older ones."""

_READERS = 4
"""Threads that read files side by side; a checksum releases Python's lock."""


class Seal(TypedDict):
    """What a file must be: its size in bytes, and the SHA-256 of its content in hexadecimal."""

    bytes: int
    sha256: str


def write_manifest(folder: Path, contents: Mapping[str, Any]) -> None:
    """Declare a folder finished. contents: JSON values; "files" maps names below the folder to their Seal."""
    contents = {"version": VERSION, **contents}
    text = json.dumps({**contents, "checksum": _checksum(contents)}, separators=(",", ":"))
    unfinished = folder / (MANIFEST + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What write_manifest wrote. Raises ValueError for an unfinished folder, a newer format, and any other content."""
    path = folder / MANIFEST
    try:
        contents = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{folder} has no {MANIFEST}: it is no checkpoint, or one that was never finished; go on from another one"
        ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}; {_REMEDY}") from error
    except ValueError:
        raise ValueError(f"{path} is damaged: it is not JSON; {_REMEDY}") from None
    if not isinstance(contents, dict) or not isinstance(version := contents.get("version"), int):
        raise ValueError(f"{path} is no manifest of a checkpoint; {_REMEDY}")
    if version > VERSION:
        raise ValueError(
            f"{path} has format {version}, and this LightRFT reads formats up to {VERSION}: upgrade lightrft-strategy"
        )
    if contents.pop("checksum", None) != _checksum(contents):
        raise ValueError(f"{path} is damaged: its checksum does not match; {_REMEDY}")
    return contents


def seal_of(path: Path) -> Seal:
    """A file's size and checksum, by reading it."""
    with path.open("rb") as file:
        return Seal(bytes=os.fstat(file.fileno()).st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def seal(folder: Path) -> None:
    """Write the manifest of all files below a folder. Those in a folder with a manifest of its own are not read."""
    known = {
        path.parent / name: entry
        for path in folder.rglob(f"*/{MANIFEST}")
        for name, entry in read_manifest(path.parent)["files"].items()
    }
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): known.get(path) or seal_of(path) for path in paths}
    write_manifest(folder, {"files": files})


def check_files(folder: Path, manifest: Mapping[str, Any], *, checksums: bool, ranks: Ranks | None = None) -> None:
    """Compare a folder's files with its manifest; with `ranks`, every rank calls it and reads its share of them.

    checksums: read every byte; otherwise only sizes are compared. Raises ValueError on every rank, naming the file.
    """
    files = sorted(manifest["files"].items())
    if ranks is not None:
        files = files[ranks.rank :: ranks.world_size]

    def check() -> None:
        try:
            for name, entry in files:
                _check_size(folder, name, entry)
            if checksums:
                with ThreadPoolExecutor(_READERS) as pool:
                    list(pool.map(lambda item: _check_content(folder / item[0], item[1]), files))
        except OSError as error:
            raise ValueError(f"{error.filename or folder} cannot be read: {error.strerror}; {_REMEDY}") from error

    together(ranks, check)


_REMEDY = "copy it again from where it came, or go on from another checkpoint"


def _check_size(folder: Path, name: str, entry: Seal) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{folder / MANIFEST} names {name}, outside of its folder: do not trust this checkpoint")
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} is missing; {_REMEDY}")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise ValueError(f"{path} has {size} bytes and was written with {entry['bytes']}; {_REMEDY}")


def _check_content(path: Path, entry: Seal) -> None:
    if seal_of(path) != entry:
        raise ValueError(f"{path} is damaged: its checksum does not match; {_REMEDY}")


def _checksum(contents: Mapping[str, Any]) -> str:
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

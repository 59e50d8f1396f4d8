"""Where media come from: files, bytes, base64, rows of datasets and, when allowed, URLs."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from io import BytesIO
from os.path import normpath
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from lightrft_multimodal.media.download import download
from lightrft_multimodal.media.errors import LONGEST_REASON, MediaError, named, refused, shortened
from lightrft_multimodal.media.limits import Limits

Encoded: TypeAlias = str | Path | bytes | Mapping[str, Any]
"""A path, encoded bytes, a `data:<kind>/...;base64,` URL, base64, {"bytes": ..., "path": ...} of a dataset, a URL."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FETCHED = re.compile(r"https?://", re.IGNORECASE)
_DATA_URL = re.compile(r"data:(\w+)/[\w.+-]+(;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_BEGINNINGS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM"),
    *(b"RIFF", b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u", b"\x00\x00\x01\xba"),
    *(b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"FORM", b".snd", b"caff"),
)


def opened(source: Any, kind: str, root: Path | None, limits: Limits) -> BinaryIO:
    """The encoded medium as a file to read and seek in; the caller closes it.

    source: what Encoded says; anything else is refused. kind: "image", "video" or "audio", for messages and data URLs.
    root: the folder that paths are relative to and may not leave; links below it are followed, since who made the
    folder made them.
    Raises MediaError for everything that is not there, too large or not allowed.
    """
    located = _located(source, kind, root, limits)
    name = f"{kind} {named(source)}"
    if isinstance(located, bytes):
        if len(located) > limits.max_bytes:
            raise MediaError(_too_large(name, len(located), limits))
        return BytesIO(located)
    try:
        if not located.is_file():
            raise MediaError(f"{name}: there is no file {shortened(str(located), LONGEST_REASON)}")
        if (size := located.stat().st_size) > limits.max_bytes:
            raise MediaError(_too_large(name, size, limits))
        return located.open("rb")
    except OSError as error:
        raise MediaError(f"{name} cannot be read: {error.strerror}") from error


def contents(source: Any, kind: str, root: Path | None, limits: Limits) -> bytes:
    """The encoded medium's bytes, on the same terms as `opened`."""
    with opened(source, kind, root, limits) as file, refused(f"{kind} {named(source)} cannot be read"):
        return file.read(limits.max_bytes)


def _located(source: Any, kind: str, root: Path | None, limits: Limits) -> Path | bytes:
    name = f"{kind} {named(source)}"
    match source:
        case bytes() | bytearray() | memoryview():
            return bytes(source)
        case {"bytes": bytes() | bytearray() as content}:
            return bytes(content)
        case {"path": str() | Path() as path}:
            return _located(path, kind, root, limits)
        case Path():
            return _below(source, name, root, limits)
        case str() if source[:5].lower() == "data:":
            return _of_data_url(source, kind, name, limits)
        case str() if _URL.match(source):
            return _fetched(source, name, limits)
        case str() if _is_base64(source):
            return decoded_base64(source, name, limits)
        case str():
            return _below(Path(source), name, root, limits)
        case _:
            raise MediaError(f"{name} is neither a path, bytes, a data URL nor {_OTHERWISE[kind]}")


_OTHERWISE = {
    "image": "an image",
    "video": "a list of frames",
    "audio": "a pair of a waveform and its rate",
}


def _below(path: Path, name: str, root: Path | None, limits: Limits) -> Path:
    if root is None:
        if not limits.paths:
            raise MediaError(
                f"{name} names a file, and its data lies in no folder that paths could be relative to: "
                "give the folder its files lie in (--media_root)"
            )
        return path
    whole = Path(normpath(root.absolute() / path))
    if not whole.is_relative_to(normpath(root.absolute())):
        raise MediaError(f"{name} lies outside of {root}: only files below it are read (--media_root)")
    return whole


def _fetched(url: str, name: str, limits: Limits) -> bytes:
    if not limits.urls:
        raise MediaError(
            f"{name}: URLs are not fetched; download it and give the path of the file, or let them be (--media_urls)"
        )
    if not _FETCHED.match(url):
        raise MediaError(f"{name}: only http:// and https:// are fetched; download it and give the path of the file")
    return download(url, name, limits)


def _of_data_url(url: str, kind: str, name: str, limits: Limits) -> bytes:
    head = _DATA_URL.match(url)
    if head is None or head[1].lower() != kind:
        raise MediaError(f"{name}: a data URL must begin with data:{kind}/<format>;base64,")
    return decoded_base64(url[head.end() :], name, limits)


def decoded_base64(text: str, name: str, limits: Limits) -> bytes:
    """The bytes that base64 stands for, line breaks allowed. Raises MediaError if it is none, or too long."""
    if len(text) > 2 * limits.max_bytes:
        raise MediaError(_too_large(name, len(text) * 3 // 4, limits))
    with refused(f"{name} is not base64"):
        return b64decode("".join(text.split()), validate=True)


def _is_base64(text: str) -> bool:
    """Whether a string is base64 of something that begins as media do; a path with an extension never is."""
    start = "".join(text[:88].split())
    if not _BASE64.match(start) or not _BASE64.fullmatch("".join(text.split())):
        return False
    first = b64decode(start[:64])
    return first.startswith(_BEGINNINGS) or first[4:8] == b"ftyp"


def _too_large(name: str, size: int, limits: Limits) -> str:
    return f"{name} is {size} bytes large, more than {limits.max_bytes}: make it smaller or raise the limit of bytes"

"""What is wrong with media, said in a line: the one error of this package, and how a source is named in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from numpy import ndarray
from PIL import Image, UnidentifiedImageError

LONGEST_NAME = 80
LONGEST_REASON = 300


class MediaError(ValueError):
    """Media that cannot be used; names its source and what to do."""


@contextmanager
def refused(sentence: str) -> Iterator[None]:
    """Whatever goes wrong inside, memory and recursion included, becomes a MediaError: the sentence and why."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        raise MediaError(f"{sentence}: {_reason(error)}; mend it or leave it out") from error


def _reason(error: Exception) -> str:
    """What an error says, in one printable line."""
    if isinstance(error, UnidentifiedImageError):
        return "it begins like none of them"
    said = str(getattr(error, "strerror", None) or error)
    return shortened(" ".join(said.split()) or type(error).__name__, LONGEST_REASON)


def named(source: Any) -> str:
    """A source as errors call it, in one short printable line, whatever it is."""
    match source:
        case str() if not source:
            return "with an empty name"
        case bytes() | bytearray() | memoryview():
            return f"of {len(source)} bytes"
        case Image.Image():
            return f"of mode {source.mode}"
        case ndarray():
            return f"of shape {list(source.shape)}"
        case {"path": str() | Path() as path} | {"url": str() as path}:
            return named(path)
        case {"bytes": bytes(content)}:
            return f"of {len(content)} bytes"
        case str() if "://" in source:
            return shortened(_without_secrets(source))
        case str() | Path():
            return shortened(str(source))
        case None | bool() | float():
            return repr(source)
        case int() if abs(source) < 10**18:
            return repr(source)
        case Mapping() if all(isinstance(key, str) for key in source):
            return shortened(f"of a mapping with {', '.join(source) or 'nothing'}")
        case _:
            return f"of type {type(source).__name__}"


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Text of at most about `longest` characters that any terminal and file takes."""
    shown = text if len(text) <= longest else f"{text[: longest - 20]}... ({len(text)} characters)"
    return shown if shown.isprintable() else ascii(shown)


def _without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, which may be keys to it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

"""Messages over a pipe: JSON, each behind its length in bytes (4, big-endian)."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">I")


def frame(content: bytes) -> bytes:
    """A message ready to be written. content: its JSON."""
    return _LENGTH.pack(len(content)) + content


def encode(message: dict[str, Any]) -> bytes:
    """A message ready to be written."""
    return frame(json.dumps(message).encode())


def read_frame(pipe: BinaryIO) -> Any:
    """Wait for the next message; None once the other end has closed the pipe."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return json.loads(content) if len(content) == length else None


def take_frames(buffer: bytearray) -> list[Any]:
    """The whole messages at the front of the buffer, which loses them."""
    messages: list[Any] = []
    start = 0
    while len(buffer) - start >= _LENGTH.size:
        end = start + _LENGTH.size + _LENGTH.unpack_from(buffer, start)[0]
        if end > len(buffer):
            break
        messages.append(json.loads(buffer[start + _LENGTH.size : end]))
        start = end
    del buffer[:start]
    return messages

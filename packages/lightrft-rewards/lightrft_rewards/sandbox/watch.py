"""What the server sees of a running program: its output, its end, and the bounds it runs into."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass, field
from typing import Any

from lightrft_rewards.frames import take_frames
from lightrft_rewards.sandbox.launch import Ends
from lightrft_rewards.sandbox.limits import Limits

_CHUNK = 1 << 16
_STDERR_KEPT = 4096


@dataclass
class Seen:
    """What was seen. report: the keeper's. exceeded: "wall_seconds" or "output" if the program was stopped for that,
    "asked" if nobody waits for it any more. proof: what the program wrote at its end."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    proof: bytes = b""
    report: dict[str, Any] = field(default_factory=dict[str, Any])
    exceeded: str = ""
    wall_seconds: float = 0.0


def watch(ends: Ends, stdin: bytes, limits: Limits, asking: int) -> Seen:
    """Feed the program its input and take its output until it ends or has to be ended, which the caller does by closing
    the pipes. asking: a pipe whose hanging up says that nobody waits any more."""
    seen, began = Seen(), time.monotonic()
    unread, report = memoryview(stdin), bytearray()
    poll = select.poll()
    for descriptor in (ends.stdin, ends.stdout, ends.stderr, ends.report):
        os.set_blocking(descriptor, False)
    poll.register(asking, 0)
    poll.register(ends.stdin, select.POLLOUT)
    for descriptor in (ends.stdout, ends.stderr, ends.report):
        poll.register(descriptor, select.POLLIN)
    while not seen.report and not seen.exceeded:
        left = began + limits.wall_seconds - time.monotonic()
        if left <= 0:
            seen.exceeded = "wall_seconds"
            break
        for descriptor, _ in poll.poll(left * 1000 + 1):
            if descriptor == asking:
                seen.exceeded = "asked"
            elif descriptor == ends.stdin:
                unread = _feed(ends.stdin, unread)
                if not unread:
                    poll.unregister(ends.stdin)
                    os.close(ends.stdin)
            elif descriptor == ends.report:
                report += os.read(ends.report, _CHUNK)
                seen.report = next(iter(take_frames(report)), {})
                if not seen.report:
                    seen.report = {"refused": "its keeper ended without a word"}
            elif not _take(descriptor, ends, seen, limits):
                poll.unregister(descriptor)
    seen.wall_seconds = time.monotonic() - began
    if seen.report:
        _drain(ends, seen, limits)
    return seen


def _drain(ends: Ends, seen: Seen, limits: Limits) -> None:
    """Take what a program that has ended left in its pipes."""
    while not seen.exceeded and _take(ends.stdout, ends, seen, limits):
        continue
    while _take(ends.stderr, ends, seen, limits):
        continue
    os.set_blocking(ends.proof, False)
    seen.proof = _read(ends.proof) or b""


def _feed(stdin: int, unread: memoryview) -> memoryview:
    """What is left of the input; nothing of it if the program has closed its end."""
    try:
        return unread[os.write(stdin, unread[:_CHUNK]) :] if unread else unread
    except BlockingIOError:
        return unread
    except BrokenPipeError:
        return unread[:0]


def _take(descriptor: int, ends: Ends, seen: Seen, limits: Limits) -> bool:
    """Take what the program has written there; False if there was nothing (for now, or any more)."""
    chunk = _read(descriptor)
    if not chunk:
        return False
    if descriptor == ends.stdout:
        seen.stdout += chunk
        if len(seen.stdout) > limits.output:
            seen.exceeded = "output"
            del seen.stdout[limits.output :]
    else:
        seen.stderr += chunk
        del seen.stderr[: max(0, len(seen.stderr) - _STDERR_KEPT)]
    return True


def _read(descriptor: int) -> bytes | None:
    """What can be read at once; None if that is nothing yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None

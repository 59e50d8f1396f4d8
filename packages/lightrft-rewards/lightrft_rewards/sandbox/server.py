"""The server: one process that runs one program after another, each in a process and a confinement of its own.

It is started by session, reads {"jailed": ..., "readable": [...]} and answers {"ready": {...}} or {"failed": why};
then it reads programs and answers each with what became of it, until its input ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
from pathlib import Path
from typing import Any, BinaryIO

from lightrft_rewards.frames import encode, read_frame
from lightrft_rewards.sandbox import kernel
from lightrft_rewards.sandbox.answer import run_answer
from lightrft_rewards.sandbox.grounds import Grounds, Refused, take_grounds
from lightrft_rewards.sandbox.launch import start_program
from lightrft_rewards.sandbox.limits import Limits
from lightrft_rewards.sandbox.watch import watch

_DESCRIPTORS = 256
_TOKEN_BYTES = 16


def main() -> None:
    """Serve until the input ends. Returns early, with a program's run behind it, in that program's process."""
    requests, replies = _take_over_pipes()
    setup = read_frame(requests)
    if setup is None:
        return
    try:
        grounds = take_grounds(setup["readable"], setup["jailed"])
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    except (Refused, OSError) as error:
        _send(replies, {"failed": str(error)})
        return
    gc.collect()
    gc.freeze()
    _send(replies, {"ready": {"jailed": grounds.jailed, "landlock": grounds.landlock, "user": grounds.user}})
    while (request := read_frame(requests)) is not None:
        reply = _serve(grounds, request, requests)
        if reply is None:
            run_answer(request["answer"], request["then"], as_main=request["as_main"], packages=setup["packages"])
            return
        with contextlib.suppress(BrokenPipeError):
            _send(replies, reply)


def _serve(grounds: Grounds, request: dict[str, Any], requests: BinaryIO) -> dict[str, Any] | None:
    """What became of a program; None in its own process."""
    limits = Limits(**request["limits"])
    ends = start_program(grounds, limits)
    if ends is None:
        return None
    token = os.urandom(_TOKEN_BYTES)
    with contextlib.suppress(BrokenPipeError):
        os.write(ends.token, token)
    seen = watch(ends, request["stdin"].encode(errors="surrogateescape"), limits, requests.fileno())
    ends.close()
    _reap()
    if "refused" in seen.report:
        return {"failed": seen.report["refused"]}
    return {
        "code": seen.report.get("ended", -signal.SIGKILL),
        "cpu_seconds": seen.report.get("seconds", 0.0),
        "peak": seen.report.get("peak", 0),
        "wall_seconds": seen.wall_seconds,
        "exceeded": seen.exceeded,
        "finished": seen.proof == token,
        "stdout": seen.stdout.decode(errors="replace"),
        "stderr": seen.stderr.decode(errors="replace"),
    }


def _reap() -> None:
    """Wait until nothing is left of the program: its keeper, which has been hung up on, ends when all others have."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _send(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(encode(message))
    replies.flush()


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages; nothing else has any use for them. Interrupts are the parent's to
    see to, and a machine short of memory should take it from here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, replies

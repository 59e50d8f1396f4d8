"""One worker as its parent holds it: start it, talk to it without ever blocking, and end it with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, Any

from lightrft_rewards.frames import take_frames

_CHUNK = 1 << 16


@dataclass
class Job:
    """Work for one worker. pending: the numbers of its samples without an outcome, in order.

    call_size: how many samples one call judges. returned: a worker was lost with it before it began a call.
    """

    pending: deque[int]
    call_size: int
    returned: bool = False


@dataclass
class WorkerProcess:
    """A running worker process, the leader of its own process group.

    deadline: when (time.monotonic) it must have said something further; infinite while nothing is asked of it.
    in_flight: how many samples the call it is in judges; 0 between calls.
    """

    process: subprocess.Popen[bytes]
    lifeline: int
    deadline: float
    ready: bool = False
    job: Job | None = None
    in_flight: int = 0
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    hung_up: bool = False

    @property
    def input(self) -> IO[bytes]:
        """The pipe the worker reads from."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        """The pipe the worker writes to."""
        assert self.process.stdout is not None
        return self.process.stdout

    def expect(self, seconds: float) -> None:
        """Give it that long from now to say something."""
        self.deadline = time.monotonic() + seconds

    def send(self, content: bytes) -> None:
        """Queue a framed message; what the pipe does not take at once, later calls of `flush` write."""
        self.unsent += content
        self.flush()

    def flush(self) -> None:
        """Write as much as the pipe takes. A worker that has died is noticed by `hung_up` and `exited`, not here."""
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                try:
                    written = os.write(self.input.fileno(), self.unsent[:_CHUNK])
                except BrokenPipeError:
                    self.unsent.clear()
                else:
                    del self.unsent[:written]

    def receive(self) -> list[Any]:
        """The messages that have arrived; hung_up is set once there can be no more."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output.fileno(), _CHUNK):
                self.received += chunk
            self.hung_up = True
        return take_frames(self.received)

    def exited(self) -> bool:
        """Whether the process has ended; its process id stays reserved until `kill`."""
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def hang_up(self) -> None:
        """Close its input: once idle, it ends by itself."""
        with contextlib.suppress(OSError):
            self.input.close()

    def kill(self) -> int:
        """End the whole process group, if it has not ended yet. Returns the leader's exit code as Popen has it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.hang_up()
        self.output.close()
        os.close(self.lifeline)
        return self.process.wait()


def start_worker(setup: bytes, seconds: float) -> WorkerProcess:
    """Start a worker and send it its first message. seconds: how long it may take to get ready.

    The program is started afresh, not forked and not re-importing the caller's main module, so it works from a
    notebook as from a script, and beside a GPU.
    """
    far_end, lifeline = os.pipe()
    command = [sys.executable, "-u", "-P", "-m", "lightrft_rewards.worker", str(far_end)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(far_end,),
            start_new_session=True,
        )
    finally:
        os.close(far_end)
    worker = WorkerProcess(process, lifeline, deadline=time.monotonic() + seconds)
    os.set_blocking(worker.input.fileno(), False)
    os.set_blocking(worker.output.fileno(), False)
    worker.send(setup)
    return worker


def describe_exit(code: int) -> str:
    """A process's end in words. code: as Popen's returncode."""
    if code >= 0:
        return f"ended by itself (exit code {code})"
    hint = "; was the machine out of memory?" if code == -9 else ""
    return f"was killed by signal {-code}{hint}"

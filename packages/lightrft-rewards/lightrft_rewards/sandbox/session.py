"""The sandbox as its users hold it: start it, run programs, close it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lightrft_rewards
from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.frames import encode, take_frames
from lightrft_rewards.sandbox.jail import FOLDER, package_paths, readable_paths
from lightrft_rewards.sandbox.limits import Limits
from lightrft_rewards.sandbox.probe import escapes

_CHUNK = 1 << 16
_GRACE = 10.0
_START = "import sys; sys.path.insert(0, sys.argv[1]); from lightrft_rewards.sandbox.server import main; main()"


class SandboxRefusal(RewardSetupError):
    """Programs cannot be confined on this machine; the message says which of it fails and what would help."""


@dataclass(frozen=True)
class Run:
    """What became of a program.

    status: "ok" if it ended by itself with exit code 0; "timeout" if it took too much processor or wall-clock time,
    "output" if it wrote too much, else "error". how: its end in words.
    finished: the answer, and what was to follow it, ran to their last lines.
    stdout: all it wrote there, decoded as UTF-8; stderr: the last 4096 bytes. cpu_seconds, wall_seconds: what it took;
    peak: bytes of memory.
    """

    status: str
    how: str
    finished: bool
    stdout: str
    stderr: str
    cpu_seconds: float
    wall_seconds: float
    peak: int


class Sandbox:
    """Runs Python programs, one at a time, each in a process and a confinement of its own.

    A server process, started once, makes these processes by forking, which takes milliseconds. It ends, and the
    program with it, when this object is closed or this process ends, whatever ends it. Threads may share it and take
    turns; processes that are forked may not.
    """

    def __init__(self, *, jailed: bool | None = None, start_timeout: float = 60.0) -> None:
        """Starts the server and tries whether it confines a program that wants out.

        jailed: True to insist on namespaces, False to do without them (programs then have no folder to write in), None
        to use them where the machine allows it. start_timeout: seconds for the start.
        Raises SandboxRefusal if programs cannot be confined here.
        """
        self._jailed = jailed
        self._start_timeout = start_timeout
        self._server: subprocess.Popen[bytes] | None = None
        self._received = bytearray()
        self._turn = threading.Lock()
        self.means: dict[str, Any] = {}
        try:
            self._start()
            found = escapes(self.run)
        except BaseException:
            self.close()
            raise
        if found:
            self.close()
            raise SandboxRefusal(
                f"the sandbox does not run programs here: it cannot confine {', '.join(found)} on this machine"
            )

    def run(
        self, answer: str, *, stdin: str = "", then: str = "", as_main: bool = True, limits: Limits | None = None
    ) -> Run:
        """Run Python source, then more of it in the same module.

        as_main: whether that module's __name__ is "__main__" (else "answer").
        Raises SandboxRefusal if the program could not be confined, RuntimeError if the server was lost; the next call
        starts another.
        """
        limits = limits or Limits()
        request = {"answer": answer, "then": then, "as_main": as_main, "stdin": stdin, "limits": asdict(limits)}
        with self._turn:
            if self._server is None:
                self._start()
            reply = self._ask(request, limits.wall_seconds + _GRACE)
        if "failed" in reply:
            raise SandboxRefusal(f"the sandbox could not confine a program: {reply['failed']}")
        return _run(reply, limits)

    def close(self) -> None:
        """End the server and the program it runs; can be called again."""
        if self._server is None:
            return
        server, self._server = self._server, None
        assert server.stdin is not None
        assert server.stdout is not None
        with contextlib.suppress(OSError):
            server.stdin.close()
        try:
            server.wait(_GRACE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self._received.clear()
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-s", "-c", _START, str(Path(lightrft_rewards.__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )
        setup = {"jailed": self._jailed, "readable": readable_paths(), "packages": package_paths()}
        reply = self._ask(setup, self._start_timeout)
        if "failed" in reply:
            self.close()
            raise SandboxRefusal(f"the sandbox does not run programs here: {reply['failed']}")
        self.means = reply["ready"]

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The server's answer. Without one in time the server is ended, and RuntimeError raised."""
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            unsent = memoryview(encode(message))
            while unsent:
                unsent = unsent[os.write(self._server.stdin.fileno(), unsent) :]
            while True:
                for answer in take_frames(self._received):
                    return dict(answer)
                if not select.select([self._server.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise TimeoutError
                chunk = os.read(self._server.stdout.fileno(), _CHUNK)
                if not chunk:
                    raise EOFError
                self._received += chunk
        except (BrokenPipeError, EOFError):
            self.close()
            raise RuntimeError("the sandbox's server ended unexpectedly; was the machine out of memory?") from None
        except TimeoutError:
            self._server.kill()
            self.close()
            raise RuntimeError(f"the sandbox's server did not answer within {seconds:g} seconds") from None


def _run(reply: dict[str, Any], limits: Limits) -> Run:
    code, exceeded = reply["code"], reply["exceeded"]
    slow = code == -signal.SIGXCPU or (code == -signal.SIGKILL and reply["cpu_seconds"] >= limits.cpu_seconds)
    if exceeded == "output":
        status, how = "output", f"stopped: it wrote more than {limits.output} bytes"
    elif exceeded:
        status, how = "timeout", f"stopped: it took longer than {limits.wall_seconds:g} seconds"
    elif slow:
        status, how = "timeout", f"stopped: it used more than {limits.cpu_seconds} seconds of processor time"
    elif code < 0:
        status, how = "error", f"killed by signal {-code}"
    else:
        status, how = ("ok" if code == 0 else "error"), f"exit code {code}"
    kept = ("finished", "stdout", "stderr", "cpu_seconds", "wall_seconds", "peak")
    return Run(status=status, how=how, **{name: reply[name] for name in kept})


def _environment() -> dict[str, str]:
    """The server's, and so each program's: nothing of this process's but where the system's libraries lie."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": FOLDER,
        "TMPDIR": FOLDER,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **threads,
        **libraries,
    }

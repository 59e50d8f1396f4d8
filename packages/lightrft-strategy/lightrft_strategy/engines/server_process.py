"""A server of our own as a child process: started, watched, and ended with all its processes whatever becomes of us."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from threading import Lock
from typing import IO
from urllib.request import ProxyHandler, build_opener

import psutil

from lightrft_strategy.engines import process_guard
from lightrft_strategy.engines.backend import EngineDied, EngineTimeout

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
END_SECONDS = 5.0
"""How long a server that answers no more may take to end, so that its exit code can be told."""
TAIL_BYTES = 20_000


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """command: run in a process group of its own. env: added to our environment. health_url: answers 200 when ready.

    name: what messages call it. timeout: seconds it may take to become ready.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], health_url: str, name: str, timeout: float
    ) -> None:
        self.command, self.env, self.health_url = list(command), dict(env), health_url
        self.name, self.timeout = name, timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._stopping = Lock()

    def start(self) -> None:
        """Launch the command and wait until it is ready; what an earlier start left is ended first.

        Raises EngineDied if it ends instead, EngineTimeout if it does not answer in time; nothing is left running then.
        """
        self.stop()
        self._log = tempfile.NamedTemporaryFile(prefix=f"{self.name}-", suffix=".log")  # noqa: SIM115
        guard = [sys.executable, "-I", "-S", process_guard.__file__, str(os.getpid())]
        self._child = subprocess.Popen(
            [*guard, *self.command],
            env=os.environ | self.env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        atexit.register(self.stop)
        try:
            self._await_health()
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        return self._ending() == ""

    @property
    def pid(self) -> int:
        """Of the process group. Raises RuntimeError if nothing was started."""
        if self._child is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._child.pid

    def log_tail(self) -> str:
        """The end of what the processes of the last start wrote."""
        if self._log is None:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace")

    def death(self) -> EngineDied:
        """How it ended, which is waited for a moment, and the end of its log, to be raised."""
        _wait_while(lambda: self.alive, END_SECONDS)
        return EngineDied(f"{self.name} {self._ending() or 'still runs'}; the end of its log:\n{self.log_tail()}")

    def stop(self) -> None:
        """End all processes of the group: asked first, a stopped one too, killed after a grace time. Nothing
        happens if none runs."""
        with self._stopping:
            if self._child is None:
                return
            group = self._child.pid
            os.killpg(group, signal.SIGTERM)
            os.killpg(group, signal.SIGCONT)
            _wait_while(lambda: _runs(group), GRACE_SECONDS)
            os.killpg(group, signal.SIGKILL)
            _wait_while(lambda: _runs(group), GRACE_SECONDS)
            self._child.wait()
            self._child = None
            atexit.unregister(self.stop)

    def _ending(self) -> str:
        """How the child ended, "" while it runs.

        It stays unreaped until `stop`, so that its number, which is its group's, belongs to nobody else.
        """
        child = self._child
        try:
            end = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) if child else None
        except ChildProcessError:
            child = None
        if child is None:
            return "was stopped"
        if end is None:
            return ""
        code = end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status
        return f"was killed by signal {code - 128}" if code > 128 else f"ended with exit code {code}"

    def _await_health(self) -> None:
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if not self.alive:
                raise self.death()
            try:
                with opener.open(self.health_url, timeout=max(0.1, deadline - time.monotonic())) as answer:
                    if answer.status == 200:
                        return
            except (OSError, HTTPException):
                pass
            time.sleep(POLL_SECONDS)
        raise EngineTimeout(
            f"{self.name} was not ready within {self.timeout:g} s: {self.health_url} did not answer 200; "
            f"the end of its log:\n{self.log_tail()}"
        )


def _wait_while(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while holds() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _runs(group: int) -> bool:
    """Whether any process of the group still runs; one that ended and was not yet reaped does not."""
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except ProcessLookupError:
            continue
    return False
